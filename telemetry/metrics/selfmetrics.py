"""The metrics that speak of the metrics and of the binary: rows, and the counting of registrations.

They live in a component's default registry only and count their own registration.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kubeglass.telemetry.metrics.definitions import BETA, NONE, Counter, Gauge, Metric
from kubeglass.telemetry.metrics.lifecycle import Verdict

if TYPE_CHECKING:
    from kubeglass.telemetry.metrics.registry import Registry

REGISTERED_METRICS_TOTAL: Final = Counter(
    "registered_metrics_total",
    "Metrics created in a registry, by stability level and by the version that deprecated them.",
    ("stability_level", "deprecated_version"),
    stability=BETA,
    since="1.28",
)
HIDDEN_METRICS_TOTAL: Final = Counter(
    "hidden_metrics_total", "Metrics refused at registration: hidden or disabled.", stability=BETA, since="1.28"
)
DISABLED_METRICS_TOTAL: Final = Counter(
    "disabled_metrics_total", "Distinct metric names switched off by flag.", stability=BETA, since="1.28"
)
CARDINALITY_ENFORCEMENT_TOTAL: Final = Counter(
    "cardinality_enforcement_unexpected_categorizations_total",
    "Label values replaced by `unexpected` because an allow-list does not have them.",
    since="1.29",
)
KUBERNETES_BUILD_INFO: Final = Gauge(
    "kubernetes_build_info",
    "Always 1; the labels say what was built, when and with which tools.",
    (
        "major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler",
        "platform",
    ),
    stability=BETA,
)  # fmt: skip
KUBERNETES_FEATURE_ENABLED: Final = Gauge(
    "kubernetes_feature_enabled",
    "Each known feature gate: 1 when on, 0 when off.",
    ("name", "stage"),
    stability=BETA,
    since="1.26",
)
VERSION_INFO: Final = Gauge(
    "version_info",
    "Always 1; the labels give the binary's version and the one it emulates.",
    ("component", "binary", "emulation", "min_compat"),
    since="1.34",
)

ROWS: Final[tuple[Metric, ...]] = (
    REGISTERED_METRICS_TOTAL,
    HIDDEN_METRICS_TOTAL,
    DISABLED_METRICS_TOTAL,
    CARDINALITY_ENFORCEMENT_TOTAL,
    KUBERNETES_BUILD_INFO,
    KUBERNETES_FEATURE_ENABLED,
    VERSION_INFO,
)


class SelfMetrics:
    """Counts registrations, refusals and replaced label values of a registry and its companions."""

    def __init__(self, registry: Registry, disabled: int) -> None:
        self._registered = registry.bind(REGISTERED_METRICS_TOTAL)
        self._hidden = registry.bind(HIDDEN_METRICS_TOTAL)
        self._unexpected = registry.bind(CARDINALITY_ENFORCEMENT_TOTAL)
        registry.bind(DISABLED_METRICS_TOTAL).inc(disabled)

    def count(self, row: Metric, verdict: Verdict) -> None:
        """Note that `row` was registered or refused; rows outside the framework and absent ones do not count."""
        if row.stability is NONE or verdict is Verdict.ABSENT:
            return
        if verdict.visible:
            self._registered.labels(row.stability.value, row.deprecated).inc()
        else:
            self._hidden.inc()

    def count_unexpected(self, replaced: int) -> None:
        """Note `replaced` label values that an allow-list refused."""
        self._unexpected.inc(replaced)


@dataclass(frozen=True, slots=True)
class Build:
    """The labels of kubernetes_build_info. A Python build names its interpreter where Go names its toolchain."""

    git_version: str
    git_commit: str = ""
    git_tree_state: str = "clean"
    build_date: str = "1970-01-01T00:00:00Z"

    def label_values(self) -> tuple[str, ...]:
        """In the declared order of the row."""
        major, minor = self.git_version.removeprefix("v").split(".")[:2]
        return (
            major, minor, self.git_version, self.git_commit, self.git_tree_state, self.build_date,
            f"python{platform.python_version()}", platform.python_implementation().lower(), platform_name(),
        )  # fmt: skip


def platform_name() -> str:
    """`linux/amd64`, spelled as Go spells GOOS/GOARCH."""
    machine = platform.machine()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{platform.system().lower()}/{architecture}"


def describe_build(registry: Registry, build: Build) -> None:
    """Set kubernetes_build_info."""
    registry.bind(KUBERNETES_BUILD_INFO).labels(*build.label_values()).set(1)


def describe_features(registry: Registry, gates: Mapping[str, tuple[str, bool]]) -> None:
    """Set kubernetes_feature_enabled for every gate: name → (stage `ALPHA`, `BETA`, `` or `DEPRECATED`, on)."""
    features = registry.bind(KUBERNETES_FEATURE_ENABLED)
    for name, (stage, enabled) in gates.items():
        features.labels(name, stage).set(int(enabled))


def describe_version(registry: Registry, component: str, binary: str, emulation: str, min_compat: str) -> None:
    """Set version_info."""
    registry.bind(VERSION_INFO).labels(component, binary, emulation, min_compat).set(1)
