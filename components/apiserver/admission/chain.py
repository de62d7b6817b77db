"""Admission: what may still change or refuse a write after it was authenticated and authorized.

A plugin is a row with up to two functions: `admit` may change the object, `validate` may only refuse. The chain asks
every plugin in order, first all to admit, later all to validate, and measures each. Order as upstream's
AllOrderedPlugins; the webhooks come last in their phase.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.admission.metrics import AdmissionMetrics

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
Object = dict[str, Any]


@dataclass(slots=True)
class Attributes:
    """One write as plugins see it. `obj` may be changed in place while admitting; it is None for a DELETE."""

    operation: Operation
    kind: Kind
    namespace: str
    name: str
    obj: Object | None
    old: Object | None
    user: UserInfo
    subresource: str = ""
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    annotations: MutableMapping[str, str] = field(default_factory=dict)


Step = Callable[[Attributes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One place in the chain. A step raises an ApiError to refuse."""

    name: str
    operations: frozenset[Operation]
    admit: Step | None = None
    validate: Step | None = None


WRITES: frozenset[Operation] = frozenset({"CREATE", "UPDATE"})
CREATES: frozenset[Operation] = frozenset({"CREATE"})


class Chain:
    """The plugins of one server."""

    def __init__(self, plugins: Sequence[Plugin], metrics: AdmissionMetrics | None = None) -> None:
        self._plugins = tuple(plugins)
        self._metrics = metrics

    async def admit(self, attributes: Attributes) -> None:
        """Let every plugin change the object. Raises what a plugin refuses with."""
        steps = [(plugin.name, plugin.admit) for plugin in self._for(attributes) if plugin.admit is not None]
        await self._run("admit", steps, attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Let every plugin refuse. Raises what a plugin refuses with."""
        steps = [(plugin.name, plugin.validate) for plugin in self._for(attributes) if plugin.validate is not None]
        await self._run("validate", steps, attributes)

    def _for(self, attributes: Attributes) -> list[Plugin]:
        return [plugin for plugin in self._plugins if attributes.operation in plugin.operations]

    async def _run(self, phase: str, steps: Sequence[tuple[str, Step]], attributes: Attributes) -> None:
        started = time.perf_counter()
        rejected = True
        try:
            for name, step in steps:
                await self._measured(phase, name, step, attributes)
            rejected = False
        finally:
            if self._metrics is not None:
                labels = (phase, attributes.operation, _bool(rejected))
                took = time.perf_counter() - started
                self._metrics.step_admission_duration_seconds.labels(*labels).observe(took)
                self._metrics.step_admission_duration_seconds_summary.labels(*labels).observe(took)

    async def _measured(self, phase: str, name: str, step: Step, attributes: Attributes) -> None:
        started = time.perf_counter()
        rejected = False
        try:
            await step(attributes)
        except ApiError:
            rejected = True
            raise
        finally:
            if self._metrics is not None:
                self._metrics.controller_admission_duration_seconds.labels(
                    name, phase, attributes.operation, _bool(rejected)
                ).observe(time.perf_counter() - started)


def _bool(value: bool) -> str:
    return "true" if value else "false"
