"""How the JSON format prints one value: zap's strings and floats, Go's encoder for composites."""

from __future__ import annotations

import base64
import enum
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from json.encoder import encode_basestring
from typing import Any

import msgspec

from kubeglass.logging import gojson
from kubeglass.logging.goduration import duration_text
from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.logging.textvalue import Known
from kubeglass.logging.values import (
    Duration,
    Format,
    KObjSlice,
    KRef,
    LogMarshaler,
    Nil,
    NotObjects,
    error_text,
    has_own_text,
    said,
    time_rfc3339,
)

_ESCAPE = re.compile(r"\\(.)")
_ZAP_ESCAPES = {"b": r"\u0008", "f": r"\u000c"}


class Unprintable(Exception):
    """A value that cannot be printed under its key; `note` goes under the key with "Error" behind it."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


class JsonValues:
    """Today's value format (zapr 1.3 over zap 1.27). `known` maps strings to their finished, sanitized literals."""

    def __init__(self, sanitizer: Sanitizer) -> None:
        self._sanitizer = sanitizer
        self._ways: dict[type, Callable[[Any], str]] = {}
        self.known = Known(sanitizer.text, self._form)

    def string(self, text: str) -> str:
        """A string value as a literal, secrets replaced."""
        return self.known[text]

    def _form(self, clean: str) -> str:
        literal = encode_basestring(clean)
        return literal if literal.isascii() and "\\" not in literal else self.literal(clean)

    def literal(self, text: str) -> str:
        """A string literal with zap's escapes."""
        literal = gojson.raw_string(text)
        if "\b" in text or "\f" in text:
            literal = _ESCAPE.sub(lambda match: _ZAP_ESCAPES.get(match[1], match[0]), literal)
        return literal

    def member(self, key: object, value: object) -> tuple[str, str]:
        """A key and the text of its value; a value that fails moves to a key that says so."""
        name = str(key)
        rule = self._sanitizer.key_rule(name)
        try:
            return name, self.any(self._sanitizer.under(rule, value, name) if rule else value)
        except Unprintable as error:
            return f"{name}Error", self.literal(self._sanitizer.text(error.note))

    def any(self, value: Any) -> str:
        """Any value. Raises Unprintable and nothing else."""
        kind = type(value)
        try:
            return (self._ways.get(kind) or self._learn(kind))(value)
        except gojson.Unencodable as error:
            raise Unprintable(str(error)) from None
        except NotObjects as error:
            return self.string(str(error))
        except Exception as error:
            raise Unprintable(f"PANIC={said(error)}") from None

    def _learn(self, kind: type) -> Callable[[Any], str]:
        way = self._way(kind)
        if len(self._ways) < 10_000:
            self._ways[kind] = way
        return way

    def _way(self, kind: type) -> Callable[[Any], str]:
        """Which rule prints values of a type; first match wins."""
        for base, way in self._rules():
            if issubclass(kind, base):
                return way
        if hasattr(kind, "marshal_log"):
            return self._marshal_log
        if not issubclass(kind, msgspec.Struct) and has_own_text(kind):
            return self._own_text
        return self._composite

    def _rules(self) -> tuple[tuple[Any, Callable[[Any], str]], ...]:
        return (
            (Secret, self._own_text),
            (KRef, self._reference),
            (KObjSlice, self._composite),
            (Duration, _duration),
            (Nil, _nil),
            (enum.Enum, self._enum),
            (str, self._subclassed_string),
            (bool, _boolean),
            (int, _integer),
            (float, _float),
            (type(None), _null),
            (BaseException, self._error),
            (bytes | bytearray | memoryview, self._bytes),
            (timedelta, _timedelta),
            (datetime, _datetime),
            (Format, self._composite),
        )

    def _own_text(self, value: object) -> str:
        return self.string(str(value))

    def _reference(self, value: KRef) -> str:
        return gojson.encode(gojson.plain(value), html=False)

    def _subclassed_string(self, value: str) -> str:
        return self.string(str.__str__(value))

    def _enum(self, value: enum.Enum) -> str:
        return self.any(value.value)

    def _error(self, value: BaseException) -> str:
        return self.string(error_text(value))

    def _bytes(self, value: bytes) -> str:
        data = bytes(value)
        clean = self._sanitizer.value(data)
        return f'"{base64.b64encode(data).decode()}"' if clean is data else self.literal(_as_text(clean))

    def _marshal_log(self, value: LogMarshaler) -> str:
        return self.any(value.marshal_log())

    def _composite(self, value: object) -> str:
        return gojson.encode(self._sanitizer.tree(gojson.plain(value)), html=False)


def _as_text(clean: object) -> str:
    return clean.decode("utf-8", "surrogateescape") if isinstance(clean, bytes) else str(clean)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _integer(value: int) -> str:
    return int.__str__(value)


def _float(value: float) -> str:
    return gojson.positional(value) if math.isfinite(value) else f'"{gojson.non_finite(value)}"'


def _null(value: None) -> str:
    return "null"


def _nil(value: Nil) -> str:
    return "[]" if value is Nil.LIST else "null"


def _duration(value: Duration) -> str:
    return f'"{duration_text(value)}"'


def _timedelta(value: timedelta) -> str:
    return f'"{Duration.of(value)}"'


def _datetime(value: datetime) -> str:
    return f'"{time_rfc3339(value)}"'
