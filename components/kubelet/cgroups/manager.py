"""Makes, changes and ends the control groups of a node's Pods, and times that: create, update, destroy.

At upstream's moments (kubelet.go syncPod, killPod, syncTerminatedPod, HandlePodCleanups): a Pod's group is made before
its sandbox and ended when its containers have; the class Burstable is given its share as Pods come, go, and every
minute. Files are written in the loop: a Pod's group takes a few of them, tens of microseconds each.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from kubeglass.components.api.objects import Pod, PodSpec
from kubeglass.components.kubelet import machine, pod_resources
from kubeglass.components.kubelet.cgroups import hierarchy, limits
from kubeglass.components.kubelet.cgroups.hierarchy import RUNTIME_GROUP, TOP, CgroupRootError
from kubeglass.components.kubelet.cgroups.limits import BEST_EFFORT, BURSTABLE, PARENTS, POD_PREFIX
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.metrics import CgroupMetrics
from kubeglass.components.kubelet.runtime.shim.cgroup import Group, Limits
from kubeglass.components.machinery.process import ConfigError
from kubeglass.logging.klog import Logger

UPDATE_SECONDS = 60.0
_WAITS_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Between attempts to delete a group whose last processes are still ending."""


class CgroupError(Exception):
    """A group that cannot be made or ended; the text is fit for an event."""


class _Wanted(NamedTuple):
    """What follows from a Pod's spec."""

    spec: PodSpec
    limits: Limits
    burstable_milli: int


class PodGroups:
    """The groups of one node. Where none can be made (no privilege, read-only mounts) nothing here does anything."""

    def __init__(
        self, config: KubeletConfig, active: Callable[[], Iterable[Pod]], metrics: CgroupMetrics, log: Logger
    ) -> None:
        self._config = config
        self._active = active
        self._metrics = metrics
        self._log = log
        self._roots: Sequence[str] = ()
        self._node = limits.node_limits(machine.cpu_count(), machine.memory().total, machine.process_ids()[1])
        self._wanted: dict[str, _Wanted] = {}  # by Pod uid
        self._set: dict[str, Limits] = {}  # by Pod uid: what its group was last given

    @property
    def per_pod(self) -> bool:
        """Whether every Pod has a group."""
        return bool(self._roots) and self._config.cgroups_per_qos

    # -- the node -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Find where groups can be made, and make those above the Pods'. Raises ConfigError."""
        if self._config.runtime == "simulated":
            return
        try:
            self._roots = hierarchy.locate(self._config.root_dir, self._config.cgroup_root)
        except CgroupRootError as error:
            raise ConfigError(str(error)) from error
        if not self._roots:
            self._log.info("Control groups cannot be made; Pods have none, and memory limits are kept by looking")
            return
        try:
            for name, wanted in {**self._top(), f"/{TOP}": self._node}.items() if self.per_pod else ():
                self._apply(name, wanted)
        except CgroupError as error:
            self._log.error(error, "Failed to start the control groups of Pods; they have none")
            self._roots = ()

    async def run(self) -> None:
        """Renew the shares of the classes every minute, until cancelled."""
        while self.per_pod:
            self.update_shares()
            await asyncio.sleep(UPDATE_SECONDS)

    def update_shares(self) -> None:
        """Give the classes what their Pods request. Never raises: the next time may work."""
        for name, wanted in self._top().items() if self.per_pod else ():
            try:
                with self._timed("update"):
                    self._group(name).set(wanted)
            except OSError as error:
                self._log.error(error, "Failed to update QoS cgroup configuration", cgroupName=name)

    def _top(self) -> Mapping[str, Limits]:
        asked = (self._of(pod).burstable_milli for pod in self._active())
        return {f"/{TOP}": Limits(cpu_shares=self._node.cpu_shares), **limits.quality_limits(asked)}

    # -- Pods -----------------------------------------------------------------------------------------------------

    def name(self, pod: Pod) -> str:
        """The group that a Pod's containers are in, as the node's processes would see it."""
        group = limits.pod_group(pod) if self._config.cgroups_per_qos else f"/{RUNTIME_GROUP}"
        return f"{self._config.cgroup_root.rstrip('/')}{group}"

    def folders(self, pod: Pod) -> tuple[str, ...]:
        """The same in each hierarchy."""
        name = limits.pod_group(pod) if self.per_pod else f"/{RUNTIME_GROUP}"
        return tuple(self._group(name).folders)

    async def ensure(self, pod: Pod, *, at_least: bool = False) -> None:
        """Make the Pod's group, or give it what the Pod may use now; `at_least`: no less than before, while containers
        are still to be resized, since a group's quota cannot be less than that of one below. Raises CgroupError.
        """
        if not self.per_pod:
            return
        uid, wanted = pod.metadata.uid, self._of(pod).limits
        if at_least and uid in self._set:
            wanted = limits.wider(self._set[uid], wanted)
        if self._set.get(uid) == wanted:
            return
        name = limits.pod_group(pod)
        if not self._group(name).exists:
            self.update_shares()
        for seconds in _WAITS_SECONDS if uid in self._set else ():
            try:
                self._apply(name, wanted)
                break
            except CgroupError:  # a group below that was just deleted counts a moment longer
                await asyncio.sleep(seconds)
        else:
            self._apply(name, wanted)
        self._set[uid] = wanted

    async def end(self, pod: Pod) -> None:
        """Take away the group of a Pod that is over, with whatever still runs in it. Raises CgroupError."""
        name = limits.pod_group(pod)
        self._forget(pod.metadata.uid)
        group = self._group(name)
        if not self.per_pod or not any(map(os.path.isdir, group.folders)):
            return
        with self._timed("destroy"):
            for seconds in _WAITS_SECONDS:
                if group.end():
                    return
                await asyncio.sleep(seconds)
            if not group.end():
                raise CgroupError(f"failed to delete cgroup paths for {name}: processes do not end")

    def clean_up(self, pods: Collection[str]) -> None:
        """Take away the groups of Pods that are not among these uids; what is busy is tried again the next time."""
        for name in self._found() if self.per_pod else ():
            uid = os.path.basename(name).removeprefix(POD_PREFIX)
            if uid not in pods:
                self._log.v(3).info("Orphaned pod found, removing pod cgroups", podUID=uid)
                self._forget(uid)
                with self._timed("destroy"):
                    self._group(name).end()

    def _found(self) -> set[str]:
        """Pod groups that exist in some hierarchy."""
        found = set()
        for root in self._roots:
            for parent in PARENTS.values():
                try:
                    names = os.listdir(f"{root}{parent}")
                except FileNotFoundError:
                    continue
                found |= {f"{parent}/{name}" for name in names if name.startswith(POD_PREFIX)}
        return found

    def _forget(self, uid: str) -> None:
        self._wanted.pop(uid, None)
        self._set.pop(uid, None)

    def _of(self, pod: Pod) -> _Wanted:
        uid, known = pod.metadata.uid, self._wanted.get(pod.metadata.uid)
        if known is not None and known.spec is pod.spec:
            return known
        if known is not None and known.spec == pod.spec:
            self._wanted[uid] = known._replace(spec=pod.spec)  # the next look need not compare
            return known
        burstable = limits.quality(pod) == "Burstable"
        milli = pod_resources.requests(pod).get("cpu", 0) if burstable else 0
        self._wanted[uid] = found = _Wanted(pod.spec, limits.pod_limits(pod), milli)
        return found

    # -- figures --------------------------------------------------------------------------------------------------

    def figures(self, pod: Pod) -> Mapping[str, float]:
        """What the kernel counted for a Pod, by the names of shim/cgroup.py; {} without a group."""
        return self._group(limits.pod_group(pod)).figures() if self.per_pod else {}

    def top_figures(self) -> Mapping[str, Mapping[str, float]]:
        """The same for the groups above the Pods', by name."""
        prefix = self._config.cgroup_root.rstrip("/")
        names = (f"/{TOP}", BURSTABLE, BEST_EFFORT) if self.per_pod else ()
        return {f"{prefix}{name}": self._group(name).figures() for name in names}

    # -- files ----------------------------------------------------------------------------------------------------

    def _group(self, name: str) -> Group:
        return Group([f"{root}{name}" for root in self._roots])

    def _apply(self, name: str, wanted: Limits) -> None:
        group = self._group(name)
        try:
            if group.exists:
                with self._timed("update"):
                    group.set(wanted)
            else:
                with self._timed("create"):
                    group.create(wanted)
        except OSError as error:
            raise CgroupError(f"failed to create container for {name} : {error}") from error

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._metrics.cgroup_manager_duration_seconds.labels(operation).observe(time.perf_counter() - started)
