"""Numbers and durations have Go's digits."""

from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kubeglass.logging.goduration import duration_text, parse_duration
from kubeglass.logging.gojson import number, positional

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE)
def test_positional_is_exact(value: float) -> None:
    """A float without an exponent has the digits of its shortest text and reads back as itself."""
    shown = positional(value)
    assert "e" not in shown
    assert shown == format(Decimal(repr(value)), "f").removesuffix(".0")
    assert math.copysign(1, float(shown)) == math.copysign(1, value)


@given(FINITE)
def test_number_reads_back(value: float) -> None:
    """A JSON number reads back as itself; exponents only outside [1e-6, 1e21), without leading zeros."""
    shown = number(value)
    assert float(shown) == value
    assert ("e" in shown) == (value != 0 and not 1e-6 <= abs(value) < 1e21)
    assert "e-0" not in shown


@given(st.integers(-(2**63), 2**63 - 1))
def test_durations_read_back(nanoseconds: int) -> None:
    """A duration's text parses to the same nanoseconds."""
    assert parse_duration(duration_text(nanoseconds)) == nanoseconds
