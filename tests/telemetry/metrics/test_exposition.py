"""The text formats, read back by prometheus_client's parsers and by promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram
from kubeglass.telemetry.metrics.registry import Registry

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ODD = 'a"b\\c\nd%s{}é'

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _samples(families: Iterable[prometheus_client.Metric]) -> Samples:
    """Samples by name and labels, bounds as floats."""
    renamed = {"login_attempts_total": "login_attempts"}  # their text parser gives every counter the suffix
    return {
        (renamed.get(sample.name, sample.name), _key(sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(float(value)) if name == "le" else value) for name, value in sorted(labels.items()))


def _strict(text: str) -> str:
    """The page with `le="1"` as `le="1.0"`, which is how the strict reader wants whole bounds."""
    return re.sub(r'le="(\d+)"', r'le="\1.0"', text)


def test_every_sample_survives_the_text_format(everything: Registry) -> None:
    """A foreign parser reads back what was counted, odd label values included."""
    found = _samples(parse_text(everything.expose()[1].decode()))
    assert found["requests_total", (("code", "200"), ("verb", "GET"))] == 1234568
    assert found["requests_total", (("code", "200"), ("verb", ODD))] == 0.5
    assert found["queued", (("name", "jobs"),)] == -3
    assert found["seconds_bucket", (("le", "1.0"), ("verb", ODD))] == 2
    assert found["seconds_bucket", (("le", "2.5"), ("verb", ODD))] == 3
    assert found["seconds_bucket", (("le", "inf"), ("verb", ODD))] == 5
    assert found["seconds_count", (("verb", ODD),)] == 5
    assert found["quantiles_count", (("verb", "GET"),)] == 100
    assert found["utilization_count", (("level", "system"), ("phase", "x"))] == 1e9
    assert found["utilization_sum", (("level", "system"), ("phase", "x"))] == 0.75e9
    assert found["events_total", ()] == 0


def test_both_text_formats_say_the_same(everything: Registry) -> None:
    """OpenMetrics is read by the strict parser and holds exactly the same samples."""
    text = _samples(parse_text(everything.expose()[1].decode()))
    assert _samples(parse_openmetrics(_strict(everything.expose(OPENMETRICS)[1].decode()))) == text


def test_openmetrics_types(everything: Registry) -> None:
    """A counter is one only where the suffix fits and the short name is free; the page ends with EOF."""
    page = everything.expose(OPENMETRICS)[1].decode()
    assert "# TYPE requests counter\n" in page
    assert "# TYPE login_attempts unknown\n" in page
    assert "# TYPE queued gauge\n" in page
    assert "# TYPE queued_total unknown\n" in page
    assert page.endswith("\n# EOF\n")


def test_exemplars_reach_openmetrics_only(everything: Registry) -> None:
    """With trace and span id, value and time; on counters and buckets, never on unknown types or in plain text."""
    page = everything.expose(OPENMETRICS)[1].decode()
    ids = '# {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="00f067aa0ba902b7"}'
    marked = [line for line in page.splitlines() if ids in line]
    assert [line.partition("{")[0] for line in marked] == ["requests_total", "seconds_bucket"]
    assert re.search(r"1\.234568e\+06 # \{[^}]*\} 1 \d+\.\d{3}$", marked[0])
    assert "trace_id" not in everything.expose()[1].decode()


def test_the_text_format_to_the_letter() -> None:
    """Families by name, series by label values, labels by name; le last; Go's numbers; nothing for empty families."""
    registry = Registry().companion()
    codes = registry.bind(Counter("codes_total", "Codes.", ("verb", "code")))
    codes.labels("PUT", "200").inc(1e6)
    codes.labels("GET", "500").inc(0.25)
    codes.labels("GET", "200").inc()
    registry.bind(Histogram("b_seconds", "Seconds.", ("zone", "area"), buckets=(1, 2.5))).labels("z", "a").observe(2)
    registry.bind(Gauge("a", "First.")).set(7)
    registry.bind(Gauge("c", "None.", ("x",)))
    assert registry.expose()[1].decode() == (
        "# HELP a [ALPHA] First.\n"
        "# TYPE a gauge\n"
        "a 7\n"
        "# HELP b_seconds [ALPHA] Seconds.\n"
        "# TYPE b_seconds histogram\n"
        'b_seconds_bucket{area="a",zone="z",le="1"} 0\n'
        'b_seconds_bucket{area="a",zone="z",le="2.5"} 1\n'
        'b_seconds_bucket{area="a",zone="z",le="+Inf"} 1\n'
        'b_seconds_sum{area="a",zone="z"} 2\n'
        'b_seconds_count{area="a",zone="z"} 1\n'
        "# HELP codes_total [ALPHA] Codes.\n"
        "# TYPE codes_total counter\n"
        'codes_total{code="200",verb="GET"} 1\n'
        'codes_total{code="200",verb="PUT"} 1e+06\n'
        'codes_total{code="500",verb="GET"} 0.25\n'
    )


def test_collected_samples_carry_their_timestamp(everything: Registry) -> None:
    """Milliseconds in the text format, seconds in OpenMetrics."""
    assert b'container_cpu_usage_seconds_total{container="web"} 1.5 1700000000123\n' in everything.expose()[1]
    page = everything.expose(OPENMETRICS)[1]
    assert b'container_cpu_usage_seconds_total{container="web"} 1.5 1700000000.123\n' in page


def test_new_series_find_their_place() -> None:
    """Series made between two scrapes are sorted in."""
    registry = Registry().companion()
    gauge = registry.bind(Gauge("g", "x", ("l",)))
    for value in ("m", "z"):
        gauge.labels(value)
    registry.expose()
    for value in ("a", "p"):
        gauge.labels(value)
    assert re.findall(rb'l="(.)"', registry.expose()[1]) == [b"a", b"m", b"p", b"z"]


def test_a_large_page_comes_in_many_blocks() -> None:
    """No block holds the event loop for long, and together they are the page."""
    registry = Registry().companion()
    gauge = registry.bind(Gauge("g", "x", ("l",)))
    histogram = registry.bind(Histogram("h", "x", ("l",)))
    for number in range(1_200):
        gauge.labels(str(number)).set(number)
        histogram.labels(str(number)).observe(number)
    blocks = list(registry.exposition().blocks)
    assert len(blocks) > 50
    assert max(block.count(b"\n") for block in blocks) < 600
    assert b"".join(blocks) == registry.expose()[1]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_reads_the_page() -> None:
    """Prometheus' own linter parses it and finds nothing to complain about."""
    registry = Registry()
    registry.bind(Counter("requests_total", "Requests.", ("verb",))).labels("GET").inc()
    registry.bind(Histogram("request_duration_seconds", "Seconds.", ("verb",))).labels("GET").observe(0.2)
    page = registry.expose()[1]
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert found.stderr.decode() == ""
    assert found.returncode == 0
