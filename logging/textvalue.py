"""How klog text prints one value: Go quoting, the block form, JSON for composites.

A class per output era keeps what it has rendered: `known` maps a string to its finished,
sanitized form. See klog's internal/serialize.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from kubeglass.logging import gojson
from kubeglass.logging.goduration import duration_text
from kubeglass.logging.goquote import quote, quote_bytes
from kubeglass.logging.sanitize import Sanitizer, Secret
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
    time_text,
)


class Known(dict[str, str]):
    """The finished form of strings; a new one is made on first sight and remembered if it is short and not secret."""

    __slots__ = ("_clean", "_form")

    CAPACITY = 8_192
    LONGEST = 160

    def __init__(self, clean: Callable[[str], str], form: Callable[[str], str]) -> None:
        super().__init__()
        self._clean = clean
        self._form = form

    def __missing__(self, text: str) -> str:
        clean = self._clean(text)
        shown = self._form(clean)
        if len(text) <= self.LONGEST and clean == text:
            if len(self) >= self.CAPACITY:
                self.clear()
            self[text] = shown
        return shown


class TextValues:
    """Today's value format (klog v2.140)."""

    def __init__(self, sanitizer: Sanitizer) -> None:
        self._sanitizer = sanitizer
        self._ways: dict[type, Callable[[Any], str]] = {}
        self.known = Known(sanitizer.text, self._form)

    def string(self, text: str) -> str:
        """A string value: a quoted literal, or a block when it has several lines."""
        return self.known[text]

    def message(self, text: str) -> str:
        """A message: always one quoted literal."""
        return quote(self._sanitizer.text(text)) if "\n" in text else self.known[text]

    def keyed(self, key: str, value: object) -> str:
        """A value under a key that may itself say that the value is secret."""
        rule = self._sanitizer.key_rule(key)
        return self.any(self._sanitizer.under(rule, value) if rule else value)

    def any(self, value: Any) -> str:
        """Any value. Never raises: what a value does wrong is printed in its place."""
        kind = type(value)
        try:
            way = self._ways.get(kind) or self._learn(kind)
            return way(value)
        except gojson.Unencodable as error:
            return self._failure(f"<internal error: {error}>")
        except NotObjects as error:
            return f"[{quote(str(error))}]" if error.listed else quote(str(error))
        except Exception as error:
            return self._failure(f"<panic: {said(error)}>")

    def _form(self, clean: str) -> str:
        return block(clean) if "\n" in clean else quote(clean)

    def _failure(self, text: str) -> str:
        return quote(self._sanitizer.text(text))

    def _learn(self, kind: type) -> Callable[[Any], str]:
        way = self._way(kind)
        if len(self._ways) < 10_000:
            self._ways[kind] = way
        return way

    def _way(self, kind: type) -> Callable[[Any], str]:
        """Which rule prints values of a type; first match wins, in upstream's order."""
        for base, way in self._rules():
            if issubclass(kind, base):
                return way
        if not issubclass(kind, msgspec.Struct) and has_own_text(kind):
            return self._own_text
        if hasattr(kind, "marshal_log"):
            return self._marshal_log
        return self.composite

    def _rules(self) -> tuple[tuple[Any, Callable[[Any], str]], ...]:
        return (
            (Secret, self._own_text),
            (KRef, self._own_text),
            (KObjSlice, self._references),
            (Duration, _duration),
            (Nil, self._nil),
            (enum.Enum, self._enum),
            (str, self._subclassed_string),
            (bool, _boolean),
            (int, _integer),
            (float, gojson.number),
            (type(None), _null),
            (BaseException, self._error),
            (bytes | bytearray | memoryview, self._bytes),
            (timedelta, _timedelta),
            (datetime, _datetime),
            (Format, self._indented),
        )

    def _own_text(self, value: object) -> str:
        return self.string(str(value))

    def _subclassed_string(self, value: str) -> str:
        return self.string(str.__str__(value))

    def _enum(self, value: enum.Enum) -> str:
        return self.any(value.value)

    def _error(self, value: BaseException) -> str:
        return self.string(error_text(value))

    def _bytes(self, value: bytes) -> str:
        clean = self._sanitizer.text(bytes(value).decode("utf-8", "surrogateescape"))
        return quote_bytes(clean.encode("utf-8", "surrogateescape"))

    def _nil(self, value: Nil) -> str:
        return "null"

    def _marshal_log(self, value: LogMarshaler) -> str:
        said = value.marshal_log()
        return self.string(said) if isinstance(said, str) else self.composite(said)

    def _references(self, value: KObjSlice) -> str:
        references = value.references()
        tree = None if references is None else [None if ref is None else str(ref) for ref in references]
        return gojson.encode(tree, html=True)

    def composite(self, value: object) -> str:
        """Compact JSON, for whatever has no text of its own."""
        return gojson.encode(self._sanitizer.tree(gojson.plain(value)), html=True)

    def _indented(self, value: Format) -> str:
        return block(gojson.encode_indented(self._sanitizer.tree(gojson.plain(value.value))))


def block(text: str) -> str:
    """The multi-line form: each line behind a tab, nothing escaped, one final newline not shown."""
    lines = text.removesuffix("\n").replace("\n", "\n\t")
    return f"<\n\t{lines}\n >"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _integer(value: int) -> str:
    return int.__str__(value)


def _null(value: None) -> str:
    return "null"


def _duration(value: Duration) -> str:
    return f'"{duration_text(value)}"'


def _timedelta(value: timedelta) -> str:
    return f'"{Duration.of(value)}"'


def _datetime(value: datetime) -> str:
    return f'"{time_text(value)}"'
