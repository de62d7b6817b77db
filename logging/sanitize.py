"""Keeping secrets out of everything that leaves the process: log records, spans, Events, audit, error echoes.

By type first (`Secret`, sensitive API fields), by key second (secretkeys.py), by pattern last
(secrettext.py). A value found secret becomes a marker that names the rule; everything else
stays, byte for byte. If inspection itself fails, the value is withheld, never the record.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

from kubeglass.logging.secretkeys import STRUCTURES, is_docker_auth, rule_of_key
from kubeglass.logging.secrettext import MARKER, is_reference, marker, scan, suspicious
from kubeglass.logging.values import KObjSlice, KRef

T = TypeVar("T")

Mode = Literal["off", "types", "full"]

UNINSPECTED = "inspection-failed"
MAX_DEPTH = 100
_SCHEMES = ("bearer", "basic", "negotiate", "digest", "token")


class Secret(Generic[T]):
    """A value that prints as redacted in every format, whatever the sanitizer's mode. `reveal()` gives it back."""

    __slots__ = ("_value", "rule")

    def __init__(self, value: T, rule: str = "secret") -> None:
        self._value = value
        self.rule = rule

    def reveal(self) -> T:
        """The value itself, for the one place that needs it."""
        return self._value

    def __str__(self) -> str:
        return marker(self.rule)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never pickled or copied out of the process")


class Sanitizer:
    """Finds and replaces secrets. Shared by every sink of a process.

    Modes: `full` everything; `types` Secrets, API fields and keys, but no search in texts; `off` nothing but `Secret`.
    No method raises. `on_redaction(rule)` is told of every value replaced, for a counter.
    """

    __slots__ = ("_on_redaction", "_rules", "mode")

    def __init__(self, mode: Mode = "full", on_redaction: Callable[[str], None] | None = None) -> None:
        self.mode: Mode = mode
        self._on_redaction = on_redaction
        self._rules: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Free text with the secrets in it replaced; the same object when there are none."""
        if self.mode != "full" or not (
            ":" in text  # the characters of secrettext.suspicious, without the price of a call
            or "=" in text
            or " " in text
            or ("." in text and len(text) > 22)
            or "J" in text
            or "K" in text
            or "_" in text
        ):
            return text
        try:
            return self._text(text, 0)
        except Exception:
            return self._redact(UNINSPECTED)

    def key_rule(self, key: object) -> str:
        """The rule by which a key says that its value is secret; "" for an innocent key, and always when off."""
        if type(key) is not str or self.mode == "off":
            return ""
        rule = self._rules.get(key)
        if rule is None:
            if len(self._rules) >= 10_000:
                self._rules.clear()
            rule = self._rules[key] = rule_of_key(key)
        return rule

    def under(self, rule: str, value: Any, key: str = "") -> Any:
        """What to show of a value whose key is secret by `rule`: references, flags and counts stay."""
        try:
            return self._under(rule, value, key, 0)
        except Exception:
            return self._redact(UNINSPECTED)

    def pair(self, key: str, value: Any) -> Any:
        """What to show of `value` under `key`."""
        rule = self.key_rule(key)
        return self.under(rule, value, key) if rule else self.value(value)

    def attributes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Named values (span attributes, headers, annotations) with the secrets in them replaced."""
        return {key: self.pair(key, value) for key, value in values.items()}

    def value(self, value: Any) -> Any:
        """Any value with the secrets in it replaced; the same object when there are none."""
        if self.mode == "off":
            return value
        try:
            return self._value(value, 0)
        except Exception:
            return self._redact(UNINSPECTED)

    tree = value

    def object(self, obj: Any, kind: str = "") -> Any:
        """A decoded API object, list or patch. `kind` names what the request is about when the body does not say."""
        if self.mode == "off":
            return obj
        try:
            return self._seal(obj, 0) if kind == "Secret" else self._value(obj, 0)
        except Exception:
            return self._redact(UNINSPECTED)

    def body(self, data: bytes, kind: str = "") -> bytes:
        """A request or response body, decoded only when it may hold a secret; what is no JSON is treated as text."""
        if self.mode == "off":
            return data
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        clean = self.object(found, kind)
        return data if clean is found else msgspec.json.encode(clean)

    def _redact(self, rule: str) -> str:
        if self._on_redaction is not None:
            self._on_redaction(rule)
        return marker(rule)

    def _text(self, text: str, depth: int) -> str:
        if text[:1] in ("{", "[") and depth < MAX_DEPTH:
            try:
                tree = msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeEncodeError):
                tree = None
            if isinstance(tree, dict | list):
                clean = self._value(tree, depth + 1)
                return text if clean is tree else msgspec.json.encode(clean).decode()
        clean_text = scan(text)
        if self._on_redaction is not None and clean_text is not text and clean_text != text:
            for found in MARKER.findall(clean_text):
                self._on_redaction(found[len("[redacted:") : -1])
        return clean_text

    def _value(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise RecursionError("nested too deep to inspect")
        if isinstance(value, str):
            if self.mode != "full" or not suspicious(value):
                return value
            return self._text(value, depth)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple):
            return self._sequence(value, depth)
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            clean = self._value(text, depth)
            return value if clean is text else clean.encode("utf-8", "surrogateescape")
        if isinstance(value, Secret):
            return self._redact(value.rule)
        if isinstance(value, BaseException):
            return self._value(str(value) or type(value).__name__, depth)
        return value

    def _sequence(self, items: Iterable[Any], depth: int) -> Any:
        """A list; in an argument list, what follows `--token` is its value."""
        clean: list[Any] = []
        rule = ""
        changed = False
        for item in items:
            shown = self._under(rule, item, "", depth + 1) if rule else self._value(item, depth + 1)
            changed = changed or shown is not item
            clean.append(shown)
            flag = isinstance(item, str) and item.startswith("-") and "=" not in item
            rule = self.key_rule(item) if flag else ""
        return clean if changed else items

    def _mapping(self, fields: Mapping[Any, Any], depth: int) -> Any:
        changes = {}
        for key, item in fields.items():
            shown = self._field(fields, key, item, depth + 1)
            if shown is not item:
                changes[key] = shown
        if changes:
            fields = _with(fields, changes)
        renamed = {key: self._value(key, depth) for key in fields if isinstance(key, str) and len(key) > 12}
        if any(old is not new for old, new in renamed.items()):
            return {renamed.get(key, key): item for key, item in fields.items()}
        return fields

    def _field(self, fields: Mapping[Any, Any], key: Any, item: Any, depth: int) -> Any:
        if key == "stringData" or (key == "data" and _kind(fields) == "Secret"):
            return self._seal(item, depth)
        if key == "items" and _kind(fields) == "SecretList":
            return self._seal(item, depth)
        if key == "value":
            rule = self.key_rule(_named_by(fields))
            if rule:
                return self._under(rule, item, "", depth)
        rule = self.key_rule(key)
        return self._under(rule, item, key, depth) if rule else self._value(item, depth)

    def _seal(self, item: Any, depth: int) -> Any:
        """The data of a Secret, or a whole Secret, list of Secrets or patch of one: every leaf of data is replaced."""
        if isinstance(item, Mapping):
            data = {key: self._seal_data(value) for key, value in item.items() if key in ("data", "stringData")}
            if data or "metadata" in item or "kind" in item:
                rest = {
                    key: self._seal(value, depth + 1) if key == "items" else self._field(item, key, value, depth + 1)
                    for key, value in item.items()
                    if key not in data
                }
                return _with(item, {**rest, **data})
            if "path" in item and "value" in item:
                at = str(item["path"])
                secret = at.startswith(("/data", "/stringData"))
                return _with(item, {"value": self._seal_data(item["value"])}) if secret else self._mapping(item, depth)
            return self._seal_data(item)
        if isinstance(item, list | tuple):
            return [self._seal(part, depth + 1) for part in item]
        return self._seal_data(item)

    def _seal_data(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: self._seal_data(value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return [self._seal_data(value) for value in data]
        return data if data is None else self._redact("secret-data")

    def _under(self, rule: str, value: Any, key: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise RecursionError("nested too deep to inspect")
        if value is None or isinstance(value, bool) or value == "":
            return value
        if isinstance(value, int | float):
            return self._redact(rule) if rule == "password" else value
        if isinstance(value, str):
            return self._secret_string(rule, value, depth)
        if isinstance(value, Mapping):
            if key in STRUCTURES:
                return self._mapping(value, depth)
            return {name: self._under(rule, item, "", depth + 1) for name, item in value.items()}
        if isinstance(value, list) or type(value) is tuple:
            return [self._under(rule, item, "", depth + 1) for item in value]
        return value if isinstance(value, KRef | KObjSlice) else self._redact(rule)

    def _secret_string(self, rule: str, value: str, depth: int) -> str:
        if MARKER.fullmatch(value) or (rule == "docker-auth" and not is_docker_auth(value)):
            return value
        if rule == "secret" and is_reference(value):
            return value
        scheme, gap, credentials = value.partition(" ")
        if rule == "authorization" and scheme.lower() in _SCHEMES:
            return value if MARKER.fullmatch(credentials) else f"{scheme}{gap}{self._redact(rule)}"
        return self._redact(rule)


def _kind(fields: Mapping[Any, Any]) -> object:
    return fields.get("kind") or getattr(fields, "type_name", None)


def _named_by(fields: Mapping[Any, Any]) -> object:
    """The name of what a `value` field holds: an env variable's or header's name, a JSON patch's path."""
    name = fields.get("name") or fields.get("path")
    return name.rpartition("/")[2] if isinstance(name, str) else name


def _with(fields: Mapping[Any, Any], changes: Mapping[Any, Any]) -> Any:
    """A copy of a mapping, of its own type where that can be, with some values changed in place."""
    if isinstance(fields, dict):
        changed = copy.copy(fields)
        changed.update(changes)
        return changed
    return {**fields, **changes}
