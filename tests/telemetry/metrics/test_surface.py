"""Our rows against upstream's: nothing wrong, nothing missing without a reason, nothing invented."""

from __future__ import annotations

import importlib
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.telemetry.metrics import document, driven, surface

from kubeglass.telemetry.metrics.definitions import Metric
from kubeglass.telemetry.metrics.lifecycle import Version
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.registry import Registry

ROOT = Path(__file__).parents[3]
OURS_ALONE = re.compile(r"kubeglass_|python_|apiserver_dropped_requests_total$")

MATCHED = [(metric, row) for metric in surface.upstream() if (row := surface.match(metric)) is not None]


@pytest.mark.parametrize(("metric", "row"), MATCHED, ids=[metric.name for metric, _ in MATCHED])
def test_a_row_is_upstreams(metric: surface.Upstream, row: Metric) -> None:
    """Type, labels in declaration order, deprecation and buckets (the table has six digits) are those of v1.36."""
    declared = row.labels if not row.const_labels else tuple(sorted((*row.labels, *row.const_labels)))
    expected = metric.labels if not row.const_labels else tuple(sorted({*metric.labels, *row.const_labels}))
    assert (row.type, declared, row.deprecated) == (metric.type, expected, metric.deprecated)
    ours, theirs = surface.buckets_of(row), metric.buckets
    assert len(ours) == len(theirs)
    assert all(math.isclose(float(a), float(b), rel_tol=1e-5) for a, b in zip(ours, theirs, strict=True))


def test_every_metric_is_exposed_or_explained() -> None:
    """Each upstream metric has a row where upstream serves it, or a reason; never both."""
    undecided = [m.name for m in surface.upstream() if (surface.match(m) is None) == (not surface.reason_for(m.name))]
    assert undecided == []


def test_the_first_wave_is_complete() -> None:
    """Everything dashboards and alerts read first is exposed."""
    missing = {m.name for m in surface.upstream() if m.first_wave and surface.match(m) is None}
    assert missing == set()


def test_no_upstream_name_is_invented() -> None:
    """A name without a prefix of ours exists upstream."""
    names = {metric.name for metric in surface.upstream()}
    invented = [row.name for row, _ in surface.ours() if row.name not in names and not OURS_ALONE.match(row.name)]
    assert invented == []


def test_every_reason_is_needed() -> None:
    """No pattern in not_applicable.yaml is left over."""
    from fnmatch import fnmatchcase

    names = [metric.name for metric in surface.upstream()]
    idle = [
        pattern
        for patterns in surface.reasons().values()
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    assert idle == []


@pytest.mark.parametrize("module", list(surface.MODULES))
def test_a_row_has_one_constant(module: str) -> None:
    """Within a module a name belongs to one row per level of stability."""
    rows = surface.rows_of(importlib.import_module(f"kubeglass.{module}"))
    counted = Counter((row.name, row.stability, row.since, row.until) for row in rows)
    assert [name for name, count in counted.items() if count > 1] == []


def _surface_of(version: Version) -> set[str]:
    """Names visible on the apiserver's /metrics under an emulated version."""
    registry = Registry(MetricsOptions(version=version))
    visible = set()
    for row, endpoints in surface.ours():
        if "apiserver/metrics" in endpoints and registry.would_show(row):
            visible.add(row.name)
    return visible


@pytest.mark.parametrize(
    ("name", "shown_in", "gone_in"),
    [
        ("apiserver_flowcontrol_request_concurrency_limit", "1.30", "1.31"),
        ("apiserver_flowcontrol_request_concurrency_in_use", "1.31", "1.32"),
        ("apiserver_request_slo_duration_seconds", "1.27", "1.28"),
        ("apiserver_dropped_requests_total", "1.24", "1.25"),
        ("apiserver_storage_db_total_size_in_bytes", "1.28", "1.29"),
        ("apiserver_storage_objects", "1.36", "1.37"),
    ],
)
def test_historical_metrics_leave_in_their_release(name: str, shown_in: str, gone_in: str) -> None:
    """The metrics renamed between 1.20 and 1.37 show up to their last release and no longer."""
    assert name in _surface_of(Version.parse(shown_in))
    assert name not in _surface_of(Version.parse(gone_in))


def test_old_and_new_surfaces_differ() -> None:
    """--emulated-version=1.29 shows a former name that 1.36 hides, and lacks what came later."""
    old, new = _surface_of(Version(1, 29)), _surface_of(Version(1, 36))
    assert "apiserver_flowcontrol_request_concurrency_limit" in old - new
    assert "version_info" in new - old


def test_the_document_is_up_to_date() -> None:
    """docs/metrics.md is what `python -m tests.telemetry.metrics.document` writes."""
    assert (ROOT / "docs/metrics.md").read_text() == document.render()


def test_every_metric_of_the_first_wave_is_driven_by_a_test() -> None:
    """Some test names each metric that dashboards and alerts read first: it makes it move, and looks at its labels."""
    tests = [*(ROOT / "tests").rglob("*.py"), ROOT / "tests/e2e/data/contents.yaml"]
    words = set(re.findall(r"\w+", "\n".join(file.read_text() for file in tests)))
    words |= {re.sub(r"_(count|sum|bucket)$", "", word) for word in words}
    wanted = {metric.name for metric in surface.upstream() if metric.first_wave}
    assert wanted - words == set()


def test_every_row_is_moved() -> None:
    """No row is bound and then forgotten: what it is bound to is used, or the row is collected at scrape time."""
    assert driven.forgotten(ROOT) == []
