"""prometheus_client beside us and around us."""

from __future__ import annotations

import subprocess
import sys

import prometheus_client
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from kubeglass.telemetry.metrics.bridge import PrometheusClientCollector
from kubeglass.telemetry.metrics.definitions import Counter
from kubeglass.telemetry.metrics.registry import Registry

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


def _samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    renamed = {"login_attempts_total": "login_attempts"}  # their text parser gives every counter the suffix
    return {
        (renamed.get(sample.name, sample.name), tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(page.decode())
        for sample in family.samples
    }


def test_their_registry_shows_our_metrics(everything: Registry) -> None:
    """generate_latest of a registry that holds ours gives the samples of our own page."""
    theirs = prometheus_client.CollectorRegistry()
    theirs.register(PrometheusClientCollector(everything))
    assert _samples(generate_latest(theirs)) == _samples(everything.expose()[1])


def test_their_registry_refuses_clashing_names() -> None:
    """Our names are known to the library."""
    ours = Registry()
    ours.bind(Counter("requests_total", "x")).inc()
    theirs = prometheus_client.CollectorRegistry()
    theirs.register(PrometheusClientCollector(ours))
    with pytest.raises(ValueError, match="requests"):
        prometheus_client.Counter("requests", "y", registry=theirs)


def _their_registry() -> prometheus_client.CollectorRegistry:
    theirs = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("jobs", "Jobs.", ("queue",), registry=theirs).labels("a").inc(3)
    prometheus_client.Gauge("temperature", "Degrees.", registry=theirs).set(21.5)
    prometheus_client.Histogram("wait", "Seconds.", registry=theirs, buckets=(1, 2)).observe(1.5)
    prometheus_client.Summary("size", "Bytes.", registry=theirs).observe(7)
    prometheus_client.Info("release", "Release.", registry=theirs).info({"version": "1"})
    prometheus_client.Enum("state", "State.", states=["on", "off"], registry=theirs)
    return theirs


def test_our_page_shows_their_collectors() -> None:
    """Every kind of prometheus_client metric appears beside ours, in its place in the order."""
    ours = Registry()
    ours.add_prometheus_collector(_their_registry())
    page = ours.expose()[1]
    expected = _samples(generate_latest(_their_registry()))
    found = _samples(page)
    assert {key: value for key, value in expected.items() if not key[0].endswith("_created")}.items() <= found.items()
    names = [line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE")]
    assert names == sorted(names)
    assert b"# TYPE jobs_total counter\n" in page
    assert b"# TYPE release_info gauge\n" in page


def test_their_collectors_reach_every_format() -> None:
    """OpenMetrics and protobuf carry them too."""
    ours = Registry()
    ours.add_prometheus_collector(_their_registry())
    assert b'jobs_total{queue="a"} 3' in ours.expose("application/openmetrics-text")[1]
    assert b"wait" in ours.expose(PROTOBUF)[1]


def test_our_name_wins() -> None:
    """A foreign family under a name of ours is left out."""
    ours = Registry()
    ours.bind(Counter("jobs_total", "Ours.")).inc()
    ours.add_prometheus_collector(_their_registry())
    page = ours.expose()[1]
    assert page.count(b"# TYPE jobs_total ") == 1
    assert b"jobs_total 1\n" in page


def test_the_library_is_not_imported_without_need() -> None:
    """A process that only exposes its own metrics never loads prometheus_client."""
    code = (
        "import sys; from kubeglass.telemetry.metrics.registry import Registry; Registry().expose(); "
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
