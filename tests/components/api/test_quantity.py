import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.api import quantity
from kubeglass.components.api.quantity import QuantityError, parse


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0", "0"),
        ("0.5", "500m"),
        ("500m", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("100Mi", "100Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("512Ki", "512Ki"),
        ("1023", "1023"),
        ("1e3", "1e3"),
        ("12e2", "1200"),
        ("1E3", "1E3"),
        ("1E", "1E"),
        ("1000E", "1e21"),
        ("0.1n", "1n"),
        ("-0.5", "-500m"),
        ("+5", "+5"),
        ("0.0000000001", "1n"),
        ("1.1Ki", "1126400m"),
        ("3Ki", "3Ki"),
        ("8Ki", "8Ki"),
        ("1Ki", "1Ki"),
        ("1000k", "1M"),
        ("100k", "100k"),
        ("2.5", "2500m"),
        ("00.5", "500m"),
        ("1.", "1."),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_quantities_are_stored_canonically(written: str, stored: str) -> None:
    """The server prints a quantity as apimachinery does."""
    assert quantity.canonical(written) == stored


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", quantity.FORMAT_WRONG),
        ("1 Gi", quantity.FORMAT_WRONG),
        ("abc", quantity.FORMAT_WRONG),
        ("1..5", quantity.FORMAT_WRONG),
        ("1KiB", quantity.FORMAT_WRONG),
        ("1KK", quantity.SUFFIX_WRONG),
        ("1ki", quantity.SUFFIX_WRONG),
        ("5i", quantity.SUFFIX_WRONG),
    ],
)
def test_what_is_no_quantity_is_refused_in_upstreams_words(written: str, message: str) -> None:
    """A malformed quantity names the expression or the part that failed."""
    with pytest.raises(QuantityError) as refused:
        parse(written)
    assert str(refused.value) == message


def test_amounts_compare_across_suffixes() -> None:
    """1Gi equals 1024Mi and exceeds 1G."""
    assert parse("1Gi") == parse("1024Mi")
    assert parse("1G") < parse("1Gi")
    assert parse("100m").milli_value() == 100
    assert parse("1500u").milli_value() == 2
    assert parse("0.1").value() == 1
    assert str(parse("100m") + parse("900m")) == "1"
    assert str(parse("0") + parse("1Gi")) == "1Gi"


@given(st.integers(min_value=0, max_value=2**62), st.sampled_from(["", "n", "u", "m", "k", "Ki", "Mi", "M"]))
def test_canonical_text_denotes_the_same_amount(number: int, suffix: str) -> None:
    """Printing and parsing again loses nothing (up to the cap of int64 for binary amounts)."""
    first = parse(f"{number}{suffix}")
    again = parse(quantity._canonical(first.nanos, first.format))
    assert again == first
