"""What Pods use, from each kubelet's /metrics/resource read through the API server: what metrics-server would say.

CPU is a rate, so a Pod has a figure from the second reading on. A node is read at most every 10 s, and only when an
autoscaler asks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import NODE
from kubeglass.components.controllers.replicacount import Usage
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.transport import Unreachable

RESOLUTION_SECONDS = 10.0
_LINE = re.compile(
    r"^container_(?P<what>cpu_usage_seconds_total|memory_working_set_bytes)\{(?P<labels>[^}]*)\}"
    r" (?P<value>\S+)(?: (?P<stamp>\d+))?$",
    re.MULTILINE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Container = tuple[str, str, str]
"""(namespace, pod, container)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of one container: CPU seconds used so far, or bytes of its working set."""

    container: Container
    resource: str
    value: float
    at: float


def parse(text: str, now: float) -> Iterator[Reading]:
    """The readings in an exposition; samples without a timestamp are as of `now`."""
    for found in _LINE.finditer(text):
        labels = dict(_LABEL.findall(found["labels"]))
        resource = "cpu" if found["what"].startswith("cpu") else "memory"
        at = int(found["stamp"]) / 1000 if found["stamp"] else now
        container = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        yield Reading(container, resource, float(found["value"]), at)


class PodUsage:
    """The last two readings of every container."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._read_at: dict[str, float] = {}
        self._cpu: dict[Container, tuple[Reading | None, Reading]] = {}
        self._memory: dict[Container, Reading] = {}

    async def refresh(self, nodes: Iterable[str]) -> None:
        """Read the nodes again that were not read lately."""
        now = clock.now()
        due = [node for node in nodes if self._read_at.get(node, 0.0) + RESOLUTION_SECONDS <= now]
        async with asyncio.TaskGroup() as group:
            for node in due:
                self._read_at[node] = now
                group.create_task(self._read(node))

    def of(self, namespace: str, pod: str, resource: str, container: str = "") -> Usage | None:
        """What a Pod, or one container of it, uses; None while nobody knows."""
        mine = [key for key in self._memory if key[:2] == (namespace, pod) and container in ("", key[2])]
        usages = [self._cpu_of(key) if resource == "cpu" else self._memory_of(key) for key in mine]
        known = [usage for usage in usages if usage is not None]
        if not known or len(known) < len(usages):
            return None
        return Usage(sum(each.value for each in known), known[0].at, known[0].window_seconds)

    def _cpu_of(self, container: Container) -> Usage | None:
        before, last = self._cpu.get(container, (None, None))
        if before is None or last is None or last.at <= before.at or last.value < before.value:
            return None
        window = last.at - before.at
        return Usage(round((last.value - before.value) / window * 1000), last.at, window)

    def _memory_of(self, container: Container) -> Usage | None:
        found = self._memory.get(container)
        return Usage(round(found.value), found.at, 0.0) if found is not None else None

    async def _read(self, node: str) -> None:
        try:
            reply = await self._client.raw("GET", f"{NODE.path(name=node)}/proxy/metrics/resource")
        except (ApiError, Unreachable):
            return  # its Pods have no figures then, and the autoscaler says so
        for reading in parse(reply.body.decode(), clock.now()):
            if reading.resource == "memory":
                self._memory[reading.container] = reading
                continue
            _, last = self._cpu.get(reading.container, (None, None))
            if last is None or reading.at > last.at:
                self._cpu[reading.container] = (last, reading)
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = clock.now() - 10 * RESOLUTION_SECONDS
        for container in [key for key, found in self._memory.items() if found.at < oldest]:
            del self._memory[container]
            self._cpu.pop(container, None)
