"""Numbers, labels and help texts as Go spells them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.telemetry.metrics import spelling


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1, "-1"),
        (True, "1"),
        (0.1, "0.1"),
        (1 / 3, "0.3333333333333333"),
        (123456.0, "123456"),
        (999999, "999999"),
        (999999.5, "999999.5"),
        (1e6, "1e+06"),
        (1000000, "1e+06"),
        (1234567, "1.234567e+06"),
        (-1234567.25, "-1.23456725e+06"),
        (1795519709.03, "1.79551970903e+09"),
        (1e15, "1e+15"),
        (1e16, "1e+16"),
        (1.5e21, "1.5e+21"),
        (1e100, "1e+100"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (0.000012, "1.2e-05"),
        (5e-324, "5e-324"),
        (2**53 + 1, "9.007199254740992e+15"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_as_strconv_writes_them(value: float, text: str) -> None:
    """Format 'g' with the shortest precision: positional from 1e-4 to below 1e6, else with an exponent."""
    assert spelling.number(value) == text


@given(st.floats(allow_nan=False))
def test_a_spelled_number_reads_back(value: float) -> None:
    """No digit is lost."""
    assert float(spelling.number(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_carries_needless_characters(value: float) -> None:
    """No trailing `.0`, and an exponent has a sign and two digits at least."""
    text = spelling.number(value)
    assert not text.endswith(".0")
    if "e" in text:
        exponent = text.partition("e")[2]
        assert exponent[0] in "+-"
        assert len(exponent) >= 3


def test_labels_are_sorted_and_escaped() -> None:
    """Sorted by name, constant labels among them; backslash, quote and newline escaped."""
    text = spelling.labels(("verb", "path"), ('G"T', "a\\b\nc"), {"phase": "x"})
    assert text == 'path="a\\\\b\\nc",phase="x",verb="G\\"T"'


def test_help_is_one_line() -> None:
    """The text format leaves quotes alone, OpenMetrics escapes them."""
    assert spelling.help_line('say "hi"\n\\') == 'say "hi"\\n\\\\'
    assert spelling.help_line('say "hi"', quotes=True) == 'say \\"hi\\"'
