"""How Go spells what a metric line holds: floats, bounds, label values and help texts. Pure.

Answers to strconv.AppendFloat(f, 'g', -1, 64) and to the escaping rules of the Prometheus text format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf


def number(value: float) -> str:
    """The shortest spelling that reads back as the same float64: `0`, `0.25`, `1e+06`, `+Inf`, `NaN`."""
    if value.__class__ is int and -1_000_000 < value < 1_000_000:
        return str(value)
    value = float(value)
    if value == 0:
        return "0"  # for -0 too
    if value != value:
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        return text
    if text.endswith(".0"):
        text = text[:-2]
    return text if -1e6 < value < 1e6 else _scientific(text)


def _scientific(text: str) -> str:
    """`1234567.5` as `1.2345675e+06`: Go leaves positional notation at the seventh digit."""
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
    whole, _, fraction = digits.partition(".")
    mantissa = (whole + fraction).rstrip("0")
    point = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{sign}{mantissa[0]}{point}e+{len(whole) - 1:02d}"


def label_value(value: str) -> str:
    """Backslash, quote and newline escaped."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def labels(names: Sequence[str], values: Sequence[str], const_labels: Mapping[str, str]) -> str:
    """`a="x",b="y"`, sorted by label name, without braces."""
    pairs: Iterable[tuple[str, str]] = zip(names, values, strict=True)
    if const_labels:
        pairs = (*pairs, *const_labels.items())
    return ",".join([f'{name}="{label_value(value)}"' for name, value in sorted(pairs)])


def help_line(text: str, *, quotes: bool = False) -> str:
    """A help text on one line; OpenMetrics escapes quotes too."""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def histogram_template(name: str, bounds: Sequence[float], *, labelled: bool) -> str:
    """The lines of one histogram series: `\\0` stands for its labels, then a %-slot per bucket, sum and count."""
    lead = "\0," if labelled else ""
    plain = "{\0}" if labelled else ""
    les = [*map(number, bounds), "+Inf"]
    buckets = "".join([f'{name}_bucket{{{lead}le="{le}"}} %d\n' for le in les])
    return f"{buckets}{name}_sum{plain} %s\n{name}_count{plain} %d\n"


def summary_heads(name: str, labels: str, quantiles: Iterable[float]) -> tuple[str, ...]:
    """Line heads of one summary series: one per quantile, then sum and count."""
    lead = f"{labels}," if labels else ""
    plain = f"{{{labels}}}" if labels else ""
    quantile_heads = [f'{name}{{{lead}quantile="{number(quantile)}"}} ' for quantile in quantiles]
    return (*quantile_heads, f"{name}_sum{plain} ", f"{name}_count{plain} ")
