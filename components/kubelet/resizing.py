"""Gives a Pod and its running containers the resources they are to have: control group, containers, events.

Upstream: kuberuntime_manager.go (doPodResizeAction, computePodResizeAction), events ResizeStarted and ResizeCompleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from kubeglass.components.api.objects import Container, Pod
from kubeglass.components.kubelet.actions import Actions
from kubeglass.components.kubelet.cgroups.manager import CgroupError, PodGroups
from kubeglass.components.kubelet.observed import sidecars
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.runtime.runtime import Runtime


class Resizer:
    """For the Pods of one node."""

    def __init__(self, runtime: Runtime, groups: PodGroups, events: PodEvents) -> None:
        self._runtime = runtime
        self._groups = groups
        self._events = events

    async def ensure_group(self, pod: Pod, *, at_least: bool) -> None:
        """The Pod has its group; `at_least`: containers are still to be resized. Raises CgroupError."""
        try:
            await self._groups.ensure(pod, at_least=at_least)
        except CgroupError as error:
            message = f"unable to ensure pod container exists: {error}"
            self._events.warning(pod, None, "FailedToCreatePodContainer", message)
            raise

    async def resize(self, pod: Pod, actions: Actions) -> None:
        """Change running containers, in a group that is wide enough already; then it may become narrower."""
        if not actions.resize:
            return
        self._events.normal(pod, None, "ResizeStarted", f"Pod resize started: {summary(pod)}")
        for resize in actions.resize:
            await self._runtime.update_container_resources(resize.container.id, resize.resources)
        await self.ensure_group(pod, at_least=bool(actions.kill))
        self._events.normal(pod, None, "ResizeCompleted", f"Pod resize completed: {summary(pod)}")


def summary(pod: Pod) -> str:
    """The resources of a Pod's containers and its generation, as upstream's events show them. Pure."""
    found = {"initContainers": _allocations(sidecars(pod)), "containers": _allocations(pod.spec.containers)}
    shown = {key: value for key, value in found.items() if value}
    return json.dumps({**shown, "generation": pod.metadata.generation}, separators=(",", ":"))


def _allocations(containers: Iterable[Container]) -> list[dict[str, Any]]:
    return [{"name": c.name, "resources": _present(c)} for c in containers]


def _present(container: Container) -> dict[str, Any]:
    resources = msgspec.to_builtins(container.resources)
    return {key: dict(sorted(resources[key].items())) for key in ("limits", "requests") if resources.get(key)}
