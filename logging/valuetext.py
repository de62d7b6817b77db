"""What the formats share in printing one value: the rule of its type, found once, and strings rendered once.

A format is a subclass that says what its shapes are: textvalue.py, jsonvalue.py, and the older ones in era122.py.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from kubeglass.logging.goduration import duration_text
from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.logging.values import Duration, Format, KObjSlice, KRef, Nil, error_text

Way = Callable[[Any], str]
"""How values of one type are printed."""

_REMEMBERED_TYPES = 10_000


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


class Values(abc.ABC):
    """Prints values. `known` maps strings to their finished, sanitized form."""

    def __init__(self, sanitizer: Sanitizer) -> None:
        self._sanitizer = sanitizer
        self._ways: dict[type, Way] = {}
        self.known = Known(sanitizer.text, self._form)

    def string(self, text: str) -> str:
        """A string value, secrets replaced."""
        return self.known[text]

    @abc.abstractmethod
    def any(self, value: Any) -> str:
        """Any value; what a value does wrong is handled here."""

    @abc.abstractmethod
    def composite(self, value: object) -> str:
        """Whatever has no text of its own."""

    @abc.abstractmethod
    def _form(self, clean: str) -> str:
        """A sanitized string, finished."""

    def _way_of(self, kind: type) -> Way:
        way = self._ways.get(kind)
        if way is None:
            way = self._way(kind)
            if len(self._ways) < _REMEMBERED_TYPES:
                self._ways[kind] = way
        return way

    def _way(self, kind: type) -> Way:
        """Which rule prints values of a type; first match wins, in upstream's order."""
        for base, way in self._rules():
            if issubclass(kind, base):
                return way
        return self._unruled(kind)

    def _rules(self) -> tuple[tuple[Any, Way], ...]:
        return (
            (Secret, self._own_text),
            (KRef, self._reference),
            (KObjSlice, self._references),
            (Duration, _duration),
            (Nil, self._nil),
            (enum.Enum, self._enum),
            (str, self._subclassed_string),
            (bool, _boolean),
            (int, int.__str__),
            (float, self._float),
            (type(None), _null),
            (BaseException, self._error),
            (bytes | bytearray | memoryview, self._bytes),
            (timedelta, _timedelta),
            (datetime, self._datetime),
            (Format, self._format),
        )

    @abc.abstractmethod
    def _unruled(self, kind: type) -> Way:
        """How values of a type without a rule are printed."""

    def _own_text(self, value: object) -> str:
        return self.string(str(value))

    def _subclassed_string(self, value: str) -> str:
        return self.string(str.__str__(value))

    def _enum(self, value: enum.Enum) -> str:
        return self.any(value.value)

    def _error(self, value: BaseException) -> str:
        return self.string(error_text(value))

    @abc.abstractmethod
    def _reference(self, value: KRef) -> str: ...

    @abc.abstractmethod
    def _references(self, value: KObjSlice) -> str: ...

    @abc.abstractmethod
    def _nil(self, value: Nil) -> str: ...

    @abc.abstractmethod
    def _float(self, value: float) -> str: ...

    @abc.abstractmethod
    def _bytes(self, value: bytes) -> str: ...

    @abc.abstractmethod
    def _datetime(self, value: datetime) -> str: ...

    @abc.abstractmethod
    def _format(self, value: Format) -> str: ...


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _null(value: None) -> str:
    return "null"


def _duration(value: Duration) -> str:
    return f'"{duration_text(value)}"'


def _timedelta(value: timedelta) -> str:
    return f'"{Duration.of(value)}"'
