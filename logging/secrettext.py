"""Secrets recognised by their shape in free text: messages, error texts, URLs, headers, dumped objects.

`suspicious` is the cheap question asked of every string; `scan` the thorough answer for those
few that need it. Every pattern is linear: no nested quantifiers, every run bounded or
anchored where it cannot start again inside itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from kubeglass.logging.secretkeys import is_docker_auth, rule_of_key


def marker(rule: str) -> str:
    """What is printed in place of a secret; names the rule that found it."""
    return f"[redacted:{rule}]"


MARKER = re.compile(r"\[redacted:[a-z-]+\]")
_MARKED = re.compile(r"(?:%20|bearer|basic|negotiate|digest|token)*\[redacted:[a-z-]+\]", re.IGNORECASE)


def suspicious(text: str) -> bool:
    """Whether `text` holds a character without which no pattern below can match."""
    return (
        ":" in text
        or "=" in text
        or " " in text
        or ("." in text and len(text) > 22)
        or "J" in text
        or "K" in text
        or "_" in text
    )


class Pattern(NamedTuple):
    """One shape: tried when a needle is in the lower-cased text, `replace` answers what a match becomes."""

    needles: tuple[str, ...]
    expression: re.Pattern[str]
    replace: Callable[[re.Match[str]], str]


def scan(text: str) -> str:
    """`text` with every recognised secret replaced by its marker, also in its percent-encoded parts."""
    if "%" in text or ("?" in text and "+" in text):
        text = _ENCODED.sub(_encoded, text)
    return _scan(text)


def _scan(text: str) -> str:
    lowered = text.lower()
    for pattern in PATTERNS:
        for needle in pattern.needles:
            if needle in lowered:
                text = pattern.expression.sub(pattern.replace, text)
                break
    return text


_ENCODED = re.compile(r"[^\s\"'<>&?=]*(?:%[0-9A-Fa-f]{2}|\+)[^\s\"'<>&?=]*")
_KEPT_IN_URLS = "/:@!$'()*,;[]~"
_DECODINGS = 3  # an URL in an URL in an URL


def _encoded(match: re.Match[str]) -> str:
    """A part of a URL, looked at as it was before it was encoded; encoded again when something was replaced."""
    part = match[0]
    clean = _decoded(part, unquote)
    if "+" in part and (other := _decoded(part, unquote_plus)):
        if clean and (found := MARKER.search(other)):
            return found[0]  # it is secret whichever way its blanks are written, but not the same of it
        clean = other
    return quote(clean, safe=_KEPT_IN_URLS) if clean else part


def _decoded(part: str, decode: Callable[[str], str]) -> str:
    """What is left of a part when its secrets are replaced; "" when it has none."""
    for _ in range(_DECODINGS):
        plain = decode(part)
        clean = _scan(plain)
        if clean != plain:
            return clean
        if plain == part:
            break
        part = plain
    return ""


def _whole(rule: str) -> Callable[[re.Match[str]], str]:
    return lambda match: marker(rule)


def _after_prefix(rule: str) -> Callable[[re.Match[str]], str]:
    """Keep group 1, replace the rest."""
    return lambda match: f"{match[1]}{marker(rule)}"


_SCHEME_WORDS = frozenset(
    (
        "token",
        "tokens",
        "auth",
        "authentication",
        "authorization",
        "scheme",
        "schemes",
        "credentials",
        "header",
        "headers",
        "challenge",
        "realm",
        "access",
        "user",
        "users",
        "information",
        "info",
        "format",
    )
)


def _scheme(match: re.Match[str]) -> str:
    scheme, gap, token = match.groups()
    word = token.rstrip(".")
    if word.lower() in _SCHEME_WORDS or MARKER.match(token) or (word.isalpha() and word.islower() and len(word) < 16):
        return match[0]
    if scheme.lower() == "basic" and not is_docker_auth(token) and len(token) < 16:
        return match[0]
    return f"{scheme}{gap}{marker(f'{scheme.lower()}-auth')}"


_HARMLESS = frozenset(
    (
        "true",
        "false",
        "null",
        "none",
        "nil",
        "<nil>",
        "undefined",
        "expired",
        "invalid",
        "missing",
        "required",
        "unauthorized",
        "empty",
        "denied",
        "not",
        "no",
        "yes",
        "unknown",
        "unsupported",
        "malformed",
        "forbidden",
        "failed",
        "ok",
        "error",
        "must",
        "cannot",
        "is",
    )
)
_REFERENCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h|d)?")
_WORD_THEN_PROSE = re.compile(r" (?!\w+[=:])\w")


def is_reference(text: str) -> bool:
    """Whether a value is the "namespace/name" of a Secret object instead of a secret."""
    return _REFERENCE.fullmatch(text) is not None


def _assignment(match: re.Match[str]) -> str:
    name, between, value = match["name"], match["between"], match["value"]
    if MARKER.match(value) or (name.lower() == "pwd" and value.startswith("/")):
        return match[0]
    rule = rule_of_key(name) or ("password" if name.lower() == "pwd" else "signature")
    opening, inner, closing = _unquoted(value)
    if _is_harmless(rule, inner) or (":" in between and not opening and _is_prose(match, inner)):
        return match[0]
    return f"{name}{between}{opening}{marker(rule)}{closing}"


def _unquoted(value: str) -> tuple[str, str, str]:
    quote = _QUOTE.match(value)
    if quote is None:
        inner = value.rstrip(",;:)}]>")
        return "", inner, value[len(inner) :]
    opening = quote[0]
    closing = opening if len(value) >= 2 * len(opening) and value.endswith(opening) else ""
    return opening, value[len(opening) : len(value) - len(closing)], closing


def _is_harmless(rule: str, value: str) -> bool:
    if not value or value.lower() in _HARMLESS or MARKER.match(value):
        return True
    if rule != "password" and _NUMBER.fullmatch(value):
        return True
    return rule == "secret" and is_reference(value)


def _is_prose(match: re.Match[str], word: str) -> bool:
    """Whether `token: something happened` goes on as a sentence."""
    return word.isalpha() and word.islower() and _WORD_THEN_PROSE.match(match.string, match.end()) is not None


def _authorization(match: re.Match[str]) -> str:
    head, scheme, value = match[1], match[2] or "", match[3]
    if _MARKED.match(value) or (not scheme and (value.lower() in _HARMLESS or _is_prose(match, value))):
        return match[0]
    return f"{head}{scheme}{marker('authorization')}"


def _bootstrap_token(match: re.Match[str]) -> str:
    secret = match[1]
    if _EVENT_SUFFIX.fullmatch(secret):
        return match[0]
    alone = len(match.string) == 23
    told = any(char.isdigit() for char in secret) or "token" in match.string.lower()
    return f".{marker('bootstrap-token')}" if alone or told else match[0]


def _docker_auth(match: re.Match[str]) -> str:
    return f"{match[1]}{marker('docker-auth')}" if is_docker_auth(match[2]) else match[0]


def _long_user(match: re.Match[str]) -> str:
    return f"://{marker('url-password')}@"


def _secret_object(match: re.Match[str]) -> str:
    """A whole dumped Secret: its data, in whatever notation, is replaced map by map."""
    if _SECRET_KIND.search(match[0]) is None:
        return match[0]
    sealed = _DATA_MAP.sub(_after_prefix("secret-data"), match[0])
    lines = sealed.replace("\\n", _ESCAPED_NEWLINE)  # YAML inside a JSON string
    return _DATA_BLOCK.sub(_sealed_block, lines).replace(_ESCAPED_NEWLINE, "\\n")


def _sealed_block(match: re.Match[str]) -> str:
    return match[1] + _YAML_VALUE.sub(_after_prefix("secret-data"), match[2])


_EVENT_SUFFIX = re.compile(r"1[5-9a-f][0-9a-f]{14}")
_QUOTE = re.compile(r"\\*[\"']")
_Q = r"\\{0,8}[\"']?"
_SECRET_KIND = re.compile(rf"kind{_Q}\s{{0,3}}[:=]\s{{0,3}}{_Q}Secret(?:List)?\b|\bSecret\(", re.IGNORECASE)
_DATA_MAP = re.compile(
    rf"({_Q}(?:string)?data{_Q}\s{{0,3}}[:=]\s{{0,3}}(?:map\[string\]\w{{0,9}}|map(?=\[))?)(?:\{{[^{{}}]*\}}?|\[[^\]]*\]?)",
    re.IGNORECASE,
)
_ESCAPED_NEWLINE = "\ue000\n"
_END = r"\ue000?\r?\n"
_DATA_BLOCK = re.compile(
    rf"(^[ \t]*(?:data|stringData):[ \t]*{_END})((?:[ \t]+[^\r\n\ue000]*(?:{_END}|\ue000?\Z))+)", re.MULTILINE
)
_YAML_VALUE = re.compile(
    rf"^([ \t]+[^:\s\ue000][^:\r\n\ue000]*:[ \t]*)[^\s\ue000][^\r\n\ue000]*(?:{_END}[ \t]{{4,}}[^:\r\n\ue000]+$)*",
    re.MULTILINE,
)

_NAME = (
    r"(?P<name>password|passwd|passphrase|pwd|secret[_-]?key|secret|tokens?|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|encryption[_-]?key|client[_-]key[_-]data|credentials?|signature|(?<=[?&])sig|tls\.key"
    r"|\.?dockerconfigjson|\.dockercfg)"
)
_VALUE = (
    r"(?P<value>\"(?:[^\"\\]|\\.)*(?:\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|(?P<quote>\\{1,8}[\"']).*?(?:(?P=quote)|\Z)"
    r"|(?:(?![,;]\s?[\w.-]{1,40}[=:])[^\s\"'&\\])+)"
)

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        ("private key",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        _whole("private-key"),
    ),
    Pattern(
        ("ls0tls1crudjti",),
        re.compile(
            r"LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0EgUFJJVkFUR|BFQyBQUklWQVRF|BPUEVOU1NI|BFTkNSWVBURUQ|BEU0EgUFJJVkFUR)"
            r"[A-Za-z0-9+/]*={0,2}"
        ),
        _whole("private-key"),
    ),
    Pattern(("secret",), re.compile(r"\A.*\Z", re.DOTALL), _secret_object),
    Pattern(
        ("authorization",),
        re.compile(
            rf"(authorization{_Q}\s{{0,3}}[=:]\s{{0,3}}\[?{_Q})"
            r"((?:bearer|basic|negotiate|digest|token|apikey|aws4-hmac-sha256)\s{1,3})?([^\s\"',\\]+)",
            re.IGNORECASE,
        ),
        _authorization,
    ),
    Pattern(
        ("bearer.authorization",),
        re.compile(r"(bearer\.authorization\.k8s\.io\.)[A-Za-z0-9_=-]+", re.IGNORECASE),
        _after_prefix("bearer-auth"),
    ),
    Pattern(
        ("cookie",),
        re.compile(
            rf"(\b(?:set-)?cookie{_Q}\s{{0,3}}[:=]\s{{0,3}}\[?{_Q})(?!(?:%20)*\[redacted)[^\r\n\"'\\]+", re.IGNORECASE
        ),
        _after_prefix("cookie"),
    ),
    Pattern(
        ("bearer", "basic", "negotiate"),
        re.compile(r"\b(bearer|basic|negotiate)(\s{1,3}|%20)([A-Za-z0-9._~+/=-]{4,})", re.IGNORECASE),
        _scheme,
    ),
    Pattern(
        ("eyj",),
        re.compile(
            r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}"
            r"(?:\.[A-Za-z0-9_-]*)?"
        ),
        _whole("jwt"),
    ),
    Pattern(("zxlk",), re.compile(r"(?<![A-Za-z0-9/])ZXlK[A-Za-z0-9+/]{20,}={0,2}"), _whole("jwt")),
    Pattern(
        ("://",),
        re.compile(r"(://[^\s/@:\"'<>]{0,200}:)(?!\[redacted)[^\s/@\"'<>]+(?=@)"),
        _after_prefix("url-password"),
    ),
    Pattern(("://",), re.compile(r"://[^\s/@:\"'<>\[\]]{20,200}@"), _long_user),
    Pattern(
        ('auth"', "auth'", 'auth\\"'),
        re.compile(r"(\\{0,8}[\"']auth\\{0,8}[\"']\s{0,3}:\s{0,3}\\{0,8}[\"'])([A-Za-z0-9+/=]{4,})"),
        _docker_auth,
    ),
    Pattern(
        ("--",),
        re.compile(
            r"((?<![-\w])--?(?!-)[a-z0-9-]{0,40}(?:password|passwd|token|secret|api-?key|access-?key|private-?key)"
            r"(?:\s{1,3}|&command=|\\{0,8}[\"']\s?,?\s?\\{0,8}[\"']))(?![-\[])[^\s\"'&,\]\\]+",
            re.IGNORECASE,
        ),
        _after_prefix("argument"),
    ),
    Pattern(
        ("passw", "passphrase", "pwd", "secret", "token", "key", "credential", "signature", "sig=", "docker"),
        re.compile(rf"{_NAME}(?P<between>{_Q}\s{{0,3}}(?:[=:]|%3D)\s{{0,3}}){_VALUE}", re.IGNORECASE | re.DOTALL),
        _assignment,
    ),
    Pattern(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}"),
        _whole("token"),
    ),
    Pattern(
        (".",),
        re.compile(
            r"\.(?<=[a-z0-9]{6}\.)(?<![A-Za-z0-9_./-][a-z0-9]{6}\.)([a-z0-9]{16})(?![A-Za-z0-9_/-]|\.[A-Za-z0-9])"
        ),
        _bootstrap_token,
    ),
)
