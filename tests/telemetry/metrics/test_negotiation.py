"""Which format a scraper gets."""

from __future__ import annotations

import pytest

from kubeglass.telemetry.metrics.negotiation import Format, accepts_gzip, choose

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected", "escaping"),
    [
        ("", Format.TEXT, "underscores"),
        ("*/*", Format.TEXT, "underscores"),
        ("text/html", Format.TEXT, "underscores"),
        ("text/plain", Format.TEXT, "underscores"),
        ("text/plain;version=0.0.4;escaping=dots", Format.TEXT, "dots"),
        ("text/plain;version=1.0.0", Format.TEXT, "underscores"),
        ("application/openmetrics-text", Format.OPENMETRICS, "underscores"),
        ("application/openmetrics-text;version=2.0.0,text/plain", Format.TEXT, "underscores"),
        (PROMETHEUS_2, Format.OPENMETRICS, "underscores"),
        (PROMETHEUS_3, Format.OPENMETRICS, "allow-utf-8"),
        (f"{PROTOBUF},{PROMETHEUS_2}", Format.PROTOBUF, "underscores"),
        (f"{PROTOBUF};q=0.1,text/plain", Format.TEXT, "underscores"),
        (f"{PROTOBUF};q=0,text/plain;q=0.1", Format.TEXT, "underscores"),
        (PROTOBUF.replace("delimited", "text"), Format.TEXT, "underscores"),
        ("application/json;q=x,text/plain", Format.TEXT, "underscores"),
    ],
)
def test_the_best_acceptable_format_wins(accept: str, expected: Format, escaping: str) -> None:
    """By falling quality the first one we write; text when there is none."""
    chosen = choose(accept)
    assert chosen.format is expected
    assert chosen.content_type == f"{expected.value}; escaping={escaping}"


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [("", False), ("gzip", True), ("gzip;q=0", False), ("deflate, gzip;q=0.5", True), ("*", True), ("identity", False)],
)
def test_gzip_is_used_when_it_may(accept_encoding: str, expected: bool) -> None:
    """Only when the scraper accepts it."""
    assert accepts_gzip(accept_encoding) is expected
