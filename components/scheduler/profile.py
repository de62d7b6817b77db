"""The default profile: which plugins run, in which order, with which weights. Upstream: the default configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from random import Random

from kubeglass.components.api.objects import PodDisruptionBudget
from kubeglass.components.scheduler.framework import Enabled
from kubeglass.components.scheduler.interface import Status
from kubeglass.components.scheduler.plugins.imagelocality import ImageLocality
from kubeglass.components.scheduler.plugins.interpodaffinity import InterPodAffinity
from kubeglass.components.scheduler.plugins.placement import (
    NodeAffinity,
    NodeName,
    NodePorts,
    NodeUnschedulable,
    TaintToleration,
)
from kubeglass.components.scheduler.plugins.preemption import DefaultPreemption
from kubeglass.components.scheduler.plugins.queueing import DefaultBinder, PrioritySort, SchedulingGates
from kubeglass.components.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kubeglass.components.scheduler.plugins.topologyspread import PodTopologySpread, WorkloadSelector
from kubeglass.components.scheduler.plugins.volumes import VolumeBinding, VolumeSources
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot

DEFAULT_SCHEDULER_NAME = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What plugins read or write beyond the Pod and the nodes."""

    snapshot: Snapshot
    choice: Random
    workload_selector: WorkloadSelector
    budgets: Callable[[], Iterable[PodDisruptionBudget]]
    volumes: VolumeSources
    write_binding: Callable[[PodInfo, str], Awaitable[Status]]


def default_plugins(around: Surroundings) -> tuple[Enabled, ...]:
    """The plugins in upstream's order; a weight is given where scores count more than once."""
    return (
        Enabled(SchedulingGates()),
        Enabled(PrioritySort()),
        Enabled(NodeUnschedulable()),
        Enabled(NodeName()),
        Enabled(TaintToleration(), weight=3),
        Enabled(NodeAffinity(), weight=2),
        Enabled(NodePorts()),
        Enabled(NodeResourcesFit()),
        Enabled(VolumeBinding(around.volumes)),
        Enabled(PodTopologySpread(around.workload_selector), weight=2),
        Enabled(InterPodAffinity(), weight=2),
        Enabled(DefaultPreemption(around.snapshot, around.budgets, around.choice)),
        Enabled(NodeResourcesBalancedAllocation()),
        Enabled(ImageLocality()),
        Enabled(DefaultBinder(around.write_binding)),
    )
