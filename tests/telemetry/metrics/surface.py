"""Our rows and upstream's, side by side: what is exposed where, and why the rest is not.

upstream.tsv lists the metrics of v1.36 (name, type, level, labels, deprecation, buckets, endpoints, and whether the
metric belongs to the first wave that must be exposed). not_applicable.yaml gives the reason for each that is not.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from kubeglass.telemetry.metrics.definitions import Histogram, Metric, TimingRatioHistogram
from kubeglass.telemetry.metrics.registry import rows_of
from kubeglass.telemetry.metrics.spelling import number

HERE = Path(__file__).parent

COMPONENTS = ("apiserver", "controller-manager", "scheduler", "kubelet", "proxy")
IPTABLES_MODE = frozenset(
    {
        "kubeproxy_conntrack_reconciler_deleted_entries_total",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds",
        "kubeproxy_sync_full_proxy_rules_duration_seconds",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds",
        "kubeproxy_sync_proxy_rules_iptables_last",
        "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
        "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
        "kubeproxy_sync_proxy_rules_iptables_total",
    }
)
"""Metrics that only a proxy in iptables mode has: they are read from a cluster of its own, in test_proxy_iptables."""
EVERYWHERE = tuple(f"{component}/metrics" for component in COMPONENTS)

MODULES: dict[str, tuple[str, ...]] = {
    "telemetry.metrics.selfmetrics": EVERYWHERE,
    "telemetry.metrics.process": EVERYWHERE,
    "telemetry.slis": tuple(f"{endpoint}/slis" for endpoint in EVERYWHERE),
    "components.machinery.metrics": EVERYWHERE,
    "components.apiserver.metrics": ("apiserver/metrics",),
    "components.apiserver.admission.metrics": ("apiserver/metrics",),
    "components.apiserver.auth.metrics": ("apiserver/metrics",),
    "components.apiserver.storage.metrics": ("apiserver/metrics",),
    "components.apiserver.flowcontrol.rows": ("apiserver/metrics",),
    "components.controllers.metrics": ("controller-manager/metrics",),
    "components.scheduler.metrics": ("scheduler/metrics", "scheduler/metrics/resources"),
    "components.kubelet.metrics": ("kubelet/metrics", "kubelet/metrics/probes"),
    "components.kubelet.container_metrics": ("kubelet/metrics/resource", "kubelet/metrics/cadvisor"),
    "components.proxy.metrics": ("proxy/metrics",),
}


class Upstream(NamedTuple):
    """One line of upstream.tsv."""

    name: str
    type: str
    stability: str
    labels: tuple[str, ...]
    deprecated: str
    buckets: tuple[str, ...]
    endpoints: tuple[str, ...]
    first_wave: bool


@cache
def upstream() -> tuple[Upstream, ...]:
    """Every metric of the reference release."""
    lines = (HERE / "upstream.tsv").read_text().splitlines()[1:]
    return tuple(_upstream(line.split("\t")) for line in lines)


def _upstream(fields: Sequence[str]) -> Upstream:
    name, kind, stability, labels, deprecated, buckets, endpoints, wave = fields
    return Upstream(
        name,
        kind,
        "" if stability == "-" else stability,
        _list(labels),
        "" if deprecated == "-" else deprecated,
        _list(buckets),
        _list(endpoints),
        wave == "first",
    )


def _list(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))


@cache
def ours() -> tuple[tuple[Metric, tuple[str, ...]], ...]:
    """Every row of ours, and the endpoints its module serves."""
    return tuple(
        (row, endpoints)
        for module, endpoints in MODULES.items()
        for row in rows_of(importlib.import_module(f"kubeglass.{module}"))
    )


def buckets_of(row: Metric) -> tuple[str, ...]:
    """Upper bounds as they are exposed."""
    return tuple(map(number, row.buckets)) if isinstance(row, Histogram | TimingRatioHistogram) else ()


@cache
def reasons() -> dict[str, list[str]]:
    """reason → name patterns."""
    return {entry["why"]: entry["names"] for entry in yaml.safe_load((HERE / "not_applicable.yaml").read_text())}


def reason_for(name: str) -> str:
    """Why `name` is not exposed; empty when nobody says."""
    found = (why for why, patterns in reasons().items() if any(fnmatchcase(name, pattern) for pattern in patterns))
    return next(found, "")


def match(metric: Upstream) -> Metric | None:
    """Our row for an upstream metric: same name, and served where upstream serves it."""
    for row, endpoints in ours():
        if row.name == metric.name and row.stability == metric.stability and set(endpoints) & set(metric.endpoints):
            return row
    return None
