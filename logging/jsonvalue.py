"""How the JSON format prints one value: zap's strings and floats, Go's encoder for composites."""

from __future__ import annotations

import base64
import math
import re
from datetime import datetime
from json.encoder import encode_basestring
from typing import Any

import msgspec

from kubeglass.logging import gojson
from kubeglass.logging.values import (
    Format,
    KObjSlice,
    KRef,
    LogMarshaler,
    Nil,
    NotObjects,
    has_own_text,
    said,
    time_rfc3339,
)
from kubeglass.logging.valuetext import Values, Way

_ESCAPE = re.compile(r"\\(.)")
_ZAP_ESCAPES = {"b": r"\u0008", "f": r"\u000c"}


class Unprintable(Exception):
    """A value that cannot be printed under its key; `note` goes under the key with "Error" behind it."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


class JsonValues(Values):
    """Today's value format (zapr 1.3 over zap 1.27)."""

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
            return (self._ways.get(kind) or self._way_of(kind))(value)
        except gojson.Unencodable as error:
            raise Unprintable(str(error)) from None
        except NotObjects as error:
            return self.string(str(error))
        except Exception as error:
            raise Unprintable(f"PANIC={said(error)}") from None

    def composite(self, value: object) -> str:
        """Compact JSON, as Go's encoder writes it."""
        return gojson.encode(self._sanitizer.tree(gojson.plain(value)), html=False)

    def _form(self, clean: str) -> str:
        literal = encode_basestring(clean)
        return literal if literal.isascii() and "\\" not in literal else self.literal(clean)

    def _unruled(self, kind: type) -> Way:
        if hasattr(kind, "marshal_log"):
            return self._marshal_log
        if not issubclass(kind, msgspec.Struct) and has_own_text(kind):
            return self._own_text
        return self.composite

    def _marshal_log(self, value: LogMarshaler) -> str:
        return self.any(value.marshal_log())

    def _reference(self, value: KRef) -> str:
        return gojson.encode(gojson.plain(value), html=False)

    def _references(self, value: KObjSlice) -> str:
        return self.composite(value)

    def _nil(self, value: Nil) -> str:
        return "[]" if value is Nil.LIST else "null"

    def _float(self, value: float) -> str:
        return gojson.positional(value) if math.isfinite(value) else f'"{gojson.non_finite(value)}"'

    def _bytes(self, value: bytes) -> str:
        data = bytes(value)
        clean = self._sanitizer.value(data)
        return f'"{base64.b64encode(data).decode()}"' if clean is data else self.literal(_as_text(clean))

    def _datetime(self, value: datetime) -> str:
        return f'"{time_rfc3339(value)}"'

    def _format(self, value: Format) -> str:
        return self.composite(value)


def _as_text(clean: object) -> str:
    return clean.decode("utf-8", "surrogateescape") if isinstance(clean, bytes) else str(clean)
