"""Quantities as apimachinery parses, compares and prints them: `100m`, `1.5Gi`, `12e6`.

Every quantity is a whole number of nanos, so arithmetic is exact; finer values round up (away from zero). The text is
kept where it already is canonical by upstream's test, otherwise it is rebuilt: `0.5` prints as `500m`, `1024Mi` as
`1Gi`. Upstream: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_NANO = 10**9
_MAX_ALLOWED = (2**63 - 1) * _NANO
_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_NAMES = {exponent: suffix for suffix, exponent in _BINARY_SUFFIXES.items()}
_SCANNER = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"
NUMBER_WRONG = "unable to parse numeric part of quantity"


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


@dataclass(frozen=True, slots=True, order=False)
class Quantity:
    """An exact amount. Equality and order look at the amount only, never at how it was written."""

    nanos: int
    format: Format = "DecimalSI"
    text: str = ""

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_away(self.nanos, _NANO)

    def milli_value(self) -> int:
        """Thousandths, rounded away from zero: the unit of CPU arithmetic."""
        return _divide_away(self.nanos, 10**6)

    def as_float(self) -> float:
        return self.nanos / _NANO

    def __str__(self) -> str:
        return self.text or _canonical(self.nanos, self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Quantity) -> bool:
        return self.nanos <= other.nanos

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos + other.nanos, other.format if self.nanos == 0 else self.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, other.format if self.nanos == 0 else self.format)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self.nanos * factor, self.format)

    def __bool__(self) -> bool:
        return self.nanos != 0


ZERO = Quantity(0)


def from_milli(milli: int) -> Quantity:
    return Quantity(milli * 10**6)


def from_int(value: int, format: Format = "DecimalSI") -> Quantity:
    return Quantity(value * _NANO, format)


@lru_cache(maxsize=4096)
def parse(text: str | int | float) -> Quantity:
    """The quantity a JSON string or number denotes. Raises QuantityError with upstream's message."""
    if not isinstance(text, str):
        text = repr(text)
    if not text:
        raise QuantityError(FORMAT_WRONG)
    if text == "0":
        return Quantity(0, "DecimalSI", "0")
    found = _SCANNER.fullmatch(text)
    if found is None:
        raise QuantityError(FORMAT_WRONG)
    sign, whole, fraction, suffix = found.group(1), found.group(2), found.group(3) or "", found.group(4)
    base, exponent, format = _interpret(suffix)
    digits = (whole or "0") + fraction
    unscaled = int(digits)
    if base == 10:
        nanos = _scaled_to_nano(unscaled, exponent - len(fraction))
        text_kept = text if _decimal_is_canonical(digits, exponent - len(fraction)) else ""
    else:
        nanos = _scaled_to_nano(unscaled << exponent, -len(fraction))
        text_kept = text if not fraction and exponent % 10 == 0 and unscaled & 7 else ""
        if nanos > _MAX_ALLOWED:
            nanos, text_kept = _MAX_ALLOWED, ""
        if 0 < nanos < _NANO:
            format = "DecimalSI"
    if sign == "-":
        nanos = -nanos
    return Quantity(nanos, format, text_kept)


def canonical(text: str | int | float) -> str:
    """How the server stores a quantity that was sent as `text`."""
    return str(parse(text))


def _interpret(suffix: str) -> tuple[int, int, Format]:
    if suffix in _DECIMAL_SUFFIXES:
        return 10, _DECIMAL_SUFFIXES[suffix], "DecimalSI"
    if suffix in _BINARY_SUFFIXES:
        return 2, _BINARY_SUFFIXES[suffix], "BinarySI"
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None:
        raise QuantityError(SUFFIX_WRONG)
    return 10, int(exponent.group(1)), "DecimalExponent"


def _decimal_is_canonical(digits: str, scale: int) -> bool:
    return len(digits) <= 18 and scale >= -9 and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _scaled_to_nano(unscaled: int, scale: int) -> int:
    """unscaled * 10**scale in nanos, rounded up."""
    shift = scale + 9
    if shift > 400:
        raise QuantityError(NUMBER_WRONG)
    power: int = 10 ** abs(shift)
    return unscaled * power if shift >= 0 else -(-unscaled // power)


def _divide_away(amount: int, divisor: int) -> int:
    return -(-amount // divisor) if amount >= 0 else amount // divisor


def _canonical(nanos: int, format: Format) -> str:
    if nanos == 0:
        return "0"
    if format == "BinarySI" and abs(nanos) >= 1024 * _NANO and nanos % _NANO == 0:
        return _binary_text(nanos // _NANO)
    number, exponent = _without_trailing_zeros(nanos, 10, -9)
    shift = exponent % 3
    number, exponent = number * 10**shift, exponent - shift
    if format == "DecimalExponent" or exponent not in _DECIMAL_NAMES:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_NAMES[exponent]}"


def _binary_text(value: int) -> str:
    number, powers = _without_trailing_zeros(value, 1024, 0)
    while powers * 10 > 60:
        number, powers = number * 1024, powers - 1
    return f"{number}{_BINARY_NAMES[powers * 10]}" if powers else str(number)


def _without_trailing_zeros(number: int, base: int, exponent: int) -> tuple[int, int]:
    while number % base == 0:
        number, exponent = number // base, exponent + 1
    return number, exponent
