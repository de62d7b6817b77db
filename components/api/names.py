"""What a name may look like: DNS labels, qualified names, label values, ports, with upstream's complaints.

Each check returns the complaints, none when the value is fine. Upstream: k8s.io/apimachinery/pkg/util/validation.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_DNS1123_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = rf"{_DNS1123_LABEL}(\.{_DNS1123_LABEL})*"
_DNS1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED_NAME})?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_WILDCARD_SUBDOMAIN = rf"\*\.{_DNS1123_SUBDOMAIN}"

_DNS1123_LABEL_SAYS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)
_DNS1123_SUBDOMAIN_SAYS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
_DNS1035_LABEL_SAYS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_QUALIFIED_NAME_SAYS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_SAYS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)

Complaints = list[str]


def too_long(limit: int, unit: str = "bytes") -> str:
    """Upstream counts bytes for names and labels, and still says characters for the rest."""
    return f"must be no more than {limit} {unit}"


def out_of_range(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def dns1123_label(value: str) -> Complaints:
    return _sized(value, 63) + _shaped(value, _DNS1123_LABEL, _DNS1123_LABEL_SAYS, "my-name", "123-abc")


def dns1123_subdomain(value: str) -> Complaints:
    return _sized(value, 253) + _shaped(value, _DNS1123_SUBDOMAIN, _DNS1123_SUBDOMAIN_SAYS, "example.com")


def wildcard_subdomain(value: str) -> Complaints:
    says = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"  # noqa: E501
    return _sized(value, 253, "characters") + _shaped(value, _WILDCARD_SUBDOMAIN, says, "*.example.com")


def dns1035_label(value: str) -> Complaints:
    return _sized(value, 63, "characters") + _shaped(value, _DNS1035_LABEL, _DNS1035_LABEL_SAYS, "my-name", "abc-123")


def qualified_name(value: str) -> Complaints:
    """`name` or `prefix/name`: label keys, annotation keys, condition types."""
    parts = value.split("/")
    if len(parts) > 2:
        shape = _shape_error(_QUALIFIED_NAME_SAYS, _QUALIFIED_NAME, "MyName", "my.name", "123-abc")
        return [f"a qualified name {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    complaints: Complaints = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            complaints.append("prefix part must be non-empty")
        else:
            complaints += [f"prefix part {text}" for text in dns1123_subdomain(prefix)]
    name = parts[-1]
    if not name:
        complaints.append("name part must be non-empty")
    elif len(name) > 63:
        complaints.append(f"name part {too_long(63)}")
    return complaints + [
        f"name part {text}"
        for text in _shaped(name, _QUALIFIED_NAME, _QUALIFIED_NAME_SAYS, "MyName", "my.name", "123-abc")
    ]


def label_value(value: str) -> Complaints:
    return _sized(value, 63) + _shaped(value, _LABEL_VALUE, _LABEL_VALUE_SAYS, "MyValue", "my_value", "12345")


def path_segment(value: str) -> Complaints:
    """Names of RBAC objects and custom selectors: anything that can stand in a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in value]


def config_key(value: str) -> Complaints:
    """Keys of ConfigMaps and Secrets."""
    complaints = _sized(value, 253, "characters") + _shaped(
        value,
        _CONFIG_KEY,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        "key.name",
        "KEY_NAME",
        "key-name",
    )
    if value == ".":
        complaints.append("must not be '.'")
    elif value == "..":
        complaints.append("must not be '..'")
    elif value.startswith(".."):
        complaints.append("must not start with '..'")
    return complaints


def environment_name(value: str) -> Complaints:
    if not value:
        return ["environment variable name must be non-empty"]
    if all(" " <= character <= "~" and character != "=" for character in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_number(port: int) -> Complaints:
    return [] if 1 <= port <= 65535 else [out_of_range(1, 65535)]


def port_name(value: str) -> Complaints:
    complaints = []
    if len(value) > 15:
        complaints.append(too_long(15, "characters"))
    if not re.fullmatch("[-a-z0-9]+", value):
        complaints.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        complaints.append("must contain at least one letter (a-z)")
    if "--" in value:
        complaints.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        complaints.append("must not begin or end with a hyphen")
    return complaints


def ip(value: str) -> Complaints:
    try:
        ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def _sized(value: str, limit: int, unit: str = "bytes") -> Complaints:
    return [too_long(limit, unit)] if len(value.encode()) > limit else []


def _shaped(value: str, pattern: str, says: str, *examples: str) -> Complaints:
    return [] if re.fullmatch(pattern, value) else [_shape_error(says, pattern, *examples)]


def _shape_error(says: str, pattern: str, *examples: str) -> str:
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{says} (e.g. {listed}regex used for validation is '{pattern}')"
