"""What a registry shows, counts about itself, and refuses."""

from __future__ import annotations

import pytest

from kubeglass.telemetry.metrics.definitions import ALPHA, NONE, STABLE, Counter, Gauge, Histogram
from kubeglass.telemetry.metrics.lifecycle import Version
from kubeglass.telemetry.metrics.options import InvalidOptions, MetricsOptions
from kubeglass.telemetry.metrics.registry import DuplicateMetric, GatherError, Registry
from kubeglass.telemetry.metrics.selfmetrics import Build, describe_build, describe_features, describe_version

FORMER = Counter("requests_count", "Former.", stability=STABLE, deprecated="1.34.0")
LONG_GONE = Counter("request_latencies", "Gone.", deprecated="1.30.0")


def _registered(registry: Registry, level: str, deprecated: str = "") -> float:
    return registry.value("registered_metrics_total", stability_level=level, deprecated_version=deprecated) or 0


def test_the_self_metrics_count_their_own_registration() -> None:
    """A fresh default registry holds three BETA and one ALPHA metric: those that speak of it."""
    registry = Registry()
    assert _registered(registry, "BETA") == 3
    assert _registered(registry, "ALPHA") == 1


def test_registrations_are_counted_by_level_and_deprecation() -> None:
    """Shown metrics count as registered with the version that deprecated them, refused ones as hidden."""
    registry = Registry()
    registry.bind(FORMER)
    registry.bind(LONG_GONE)
    registry.bind(Gauge("process_threads", "x", stability=NONE))
    assert _registered(registry, "STABLE", "1.34.0") == 1
    assert registry.value("hidden_metrics_total") == 1
    assert _registered(registry, "ALPHA") == 1


def test_binding_twice_is_binding_once() -> None:
    """Parts of a component share a row's instrument, and it counts once."""
    registry = Registry()
    assert registry.bind(FORMER) is registry.bind(FORMER)
    assert _registered(registry, "STABLE", "1.34.0") == 1


def test_a_name_belongs_to_one_row() -> None:
    """A second visible row of the same name is refused."""
    registry = Registry()
    registry.bind(Counter("a_total", "One."))
    with pytest.raises(DuplicateMetric, match="a_total"):
        registry.bind(Counter("a_total", "Two."))


def test_a_name_may_have_one_row_per_life_span() -> None:
    """Rows whose releases do not overlap can both be bound; the one of the running release shows."""
    old = Histogram("seats", "Old.", buckets=(1, 2), until="1.34")
    new = Histogram("seats", "New.", buckets=(1, 2, 4), since="1.34")
    for version, bound in ((Version(1, 33), b'le="4"'), (Version(1, 34), b'le="2"')):
        registry = Registry(MetricsOptions(version=version))
        for row in (old, new):
            registry.bind(row).observe(1)
        body = registry.expose()[1]
        assert (bound in body) is (version.minor == 34)
        assert body.count(b"# TYPE seats ") == 1


def test_show_hidden_brings_all_hidden_metrics_back_with_a_warning() -> None:
    """The HELP says since when it is deprecated, and the log names the metric."""
    warnings: list[str] = []
    registry = Registry(MetricsOptions(show_hidden_for_version="1.35"), warn=warnings.append)
    registry.bind(LONG_GONE).inc()
    registry.bind(FORMER)
    assert b"# HELP request_latencies [ALPHA] (Deprecated since 1.30.0) Gone.\n" in registry.expose()[1]
    assert warnings == [
        "This hidden metric (request_latencies) has been manually overridden, showing this very deprecated metric."
    ]


def test_disabled_metrics_are_counted_once_each_and_refused() -> None:
    """Distinct, non-empty names count; a disabled metric is a hidden one at registration."""
    registry = Registry(MetricsOptions(disabled=("a_total", "", "a_total", "unknown_total")))
    registry.bind(Counter("a_total", "x")).inc()
    assert registry.value("disabled_metrics_total") == 2
    assert registry.value("hidden_metrics_total") == 1
    assert registry.value("a_total") is None


def test_the_self_metrics_can_be_disabled_too() -> None:
    """Disabling registered_metrics_total leaves a registry that works."""
    registry = Registry(MetricsOptions(disabled=("registered_metrics_total",)))
    registry.bind(Counter("a_total", "x")).inc()
    assert b"registered_metrics_total" not in registry.expose()[1]
    assert registry.value("hidden_metrics_total") == 1


def test_emulated_versions_show_different_surfaces() -> None:
    """Under 1.29 there is no version_info and FORMER is not deprecated; under 1.36 it is."""
    bodies = {}
    for version in (Version(1, 29), Version(1, 36)):
        registry = Registry(MetricsOptions(version=version))
        registry.bind(FORMER)
        registry.bind(Gauge("version_info", "x", since="1.34")).set(1)
        bodies[version.minor] = registry.expose()[1]
    assert b"version_info" not in bodies[29]
    assert b"version_info" in bodies[36]
    assert b"requests_count [STABLE] Former." in bodies[29]
    assert b"requests_count [STABLE] (Deprecated since 1.34.0) Former." in bodies[36]


def test_invalid_options_make_no_registry() -> None:
    """A registry with options that break the rules is never built."""
    with pytest.raises(InvalidOptions, match="showHiddenMetricsForVersion"):
        Registry(MetricsOptions(show_hidden_for_version="1.30"))


def test_companions_count_in_the_default_registry() -> None:
    """A companion exposes only what is bound in it; its registrations are counted where the self metrics are."""
    registry = Registry(MetricsOptions(disabled=("b_total",)))
    companion = registry.companion()
    companion.bind(Counter("a_total", "x", stability=STABLE))
    companion.bind(Counter("b_total", "x"))
    assert companion.expose()[1] == b"# HELP a_total [STABLE] x\n# TYPE a_total counter\na_total 0\n"
    assert _registered(registry, "STABLE") == 1
    assert registry.value("hidden_metrics_total") == 1


QUEUE_LENGTH = Gauge("queue_length", "Items.", ("name",))


def test_collectors_run_at_scrape_time() -> None:
    """What they yield is what a scrape shows, also when a series disappears."""
    lengths = {"jobs": 3, "pods": 0}
    registry = Registry()
    registry.collect((QUEUE_LENGTH,), lambda: ((QUEUE_LENGTH, (name,), value) for name, value in lengths.items()))
    assert registry.value("queue_length", name="jobs") == 3
    lengths.pop("jobs")
    assert registry.value("queue_length", name="jobs") is None
    assert b'queue_length{name="pods"} 0\n' in registry.expose()[1]


def test_collectors_of_one_row_make_one_family() -> None:
    """Each queue registers its own collector; the exposition has one header and sorted series."""
    registry = Registry()
    for name in ("b", "a"):
        registry.collect((QUEUE_LENGTH,), lambda name=name: [(QUEUE_LENGTH, (name,), 1)])  # type: ignore[misc]
    lines = [line for line in registry.expose()[1].splitlines() if b"queue_length" in line]
    assert lines == [
        b"# HELP queue_length [ALPHA] Items.",
        b"# TYPE queue_length gauge",
        b'queue_length{name="a"} 1',
        b'queue_length{name="b"} 1',
    ]


def test_a_series_is_collected_once() -> None:
    """Two samples of the same series fail the scrape instead of exposing an invalid page."""
    registry = Registry()
    registry.collect((QUEUE_LENGTH,), lambda: [(QUEUE_LENGTH, ("a",), 1), (QUEUE_LENGTH, ("a",), 2)])
    with pytest.raises(GatherError, match="collected before"):
        registry.expose()


def test_a_row_is_bound_or_collected_not_both() -> None:
    """The same row cannot have an instrument and a collector."""
    registry = Registry()
    registry.bind(QUEUE_LENGTH)
    with pytest.raises(DuplicateMetric):
        registry.collect((QUEUE_LENGTH,), lambda: [])
    other = Registry()
    other.collect((QUEUE_LENGTH,), lambda: [])
    with pytest.raises(DuplicateMetric):
        other.bind(QUEUE_LENGTH)


def test_collectors_honour_hiding_and_ignore_disabling() -> None:
    """Hidden members yield nothing, --disabled-metrics has no say, and collectors do not count as registered."""
    former = Gauge("queue_size", "Former.", ("name",), deprecated="1.30.0")
    registry = Registry(MetricsOptions(disabled=("queue_length",)))
    registry.collect((QUEUE_LENGTH, former), lambda: [(QUEUE_LENGTH, ("a",), 1), (former, ("a",), 1)])
    assert registry.value("queue_length", name="a") == 1
    assert registry.value("queue_size", name="a") is None
    assert _registered(registry, "ALPHA") == 1


def _fail() -> list[tuple[Gauge, tuple[str], float]]:
    raise OSError("no such device")


def test_a_failing_collector_fails_the_scrape() -> None:
    """The error text is the collector's; no half page is served."""
    registry = Registry()
    registry.collect((QUEUE_LENGTH,), _fail)
    with pytest.raises(GatherError, match="no such device"):
        registry.exposition()


def test_a_tolerant_registry_serves_what_it_has() -> None:
    """Errors are dropped as long as something could be gathered."""
    tolerant = Registry().companion(tolerant=True)
    other = Gauge("other", "x")
    tolerant.collect((QUEUE_LENGTH,), _fail)
    with pytest.raises(GatherError):
        tolerant.expose()
    tolerant.collect((other,), lambda: [(other, (), 1)])
    assert b"other 1\n" in tolerant.expose()[1]


def test_a_function_is_asked_at_scrape_time() -> None:
    """An unlabelled value without an instrument."""
    registry = Registry()
    values = iter((1.5, 2.5))
    registry.function(Gauge("temperature", "x"), lambda: next(values))
    assert registry.value("temperature") == 1.5
    assert registry.value("temperature") == 2.5


def test_build_features_and_version_are_described() -> None:
    """One series per fact, with the labels of the reference."""
    registry = Registry()
    describe_build(registry, Build("v1.36.2+kubeglass", git_commit="abc"))
    describe_features(registry, {"AllAlpha": ("ALPHA", False), "ContextualLogging": ("BETA", True), "Done": ("", True)})
    describe_version(registry, "kube-scheduler", "1.36", "1.36", "1.35")
    body = registry.expose()[1].decode()
    assert 'git_commit="abc",git_tree_state="clean",git_version="v1.36.2+kubeglass"' in body
    assert 'major="1",minor="36"' in body
    assert 'kubernetes_feature_enabled{name="AllAlpha",stage="ALPHA"} 0\n' in body
    assert 'kubernetes_feature_enabled{name="Done",stage=""} 1\n' in body
    assert 'version_info{binary="1.36",component="kube-scheduler",emulation="1.36",min_compat="1.35"} 1\n' in body


def test_stability_defaults_to_alpha() -> None:
    """A row that promises nothing is ALPHA."""
    assert Counter("a", "x").stability is ALPHA
