"""A control plane in the caller's event loop: real API server, controllers, scheduler and state metrics over a memory
store, and simulated nodes that run Pods as data. Everything but the processes is what `kubeglass up` starts.
"""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from kubeglass import GIT_VERSION
from kubeglass.components.api.user import ALL_AUTHENTICATED, UserInfo
from kubeglass.components.apiserver.testing import RunningServer, running
from kubeglass.components.controllers.controllers import ControllerManager, default_options
from kubeglass.components.kubelet.fleet.fleet import Fleet
from kubeglass.components.kubelet.fleet.nodes import NodeShape
from kubeglass.components.machinery.process import start
from kubeglass.components.scheduler.scheduler import Scheduler
from kubeglass.components.statemetrics.statemetrics import StateMetrics
from kubeglass.components.testing.signals import Logs, Traces
from kubeglass.logging import setup as logging_setup
from kubeglass.logging.setup import LoggingOptions
from kubeglass.logging.verbosity import Verbosity
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Pages
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.zpages import About

LOOPBACK = ("127.0.0.1", 0)
COMPONENTS = ("apiserver", "controller-manager", "scheduler", "state-metrics", "kubelet")
_VERBOSITY = 2
_CAPACITY = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A started control plane: its server, what components expose, and where it can be scraped (by component)."""

    server: RunningServer
    registries: Mapping[str, Registry]
    metrics_addresses: Mapping[str, str]


@asynccontextmanager
async def control_plane(nodes: int, traces: Traces, logs: Logs) -> AsyncIterator[ControlPlane]:
    """Start everything, and stop it in reverse order."""
    async with AsyncExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w"))  # noqa: SIM115  # the stack closes it
        telemetries = {name: _telemetry(name, traces, logs, nowhere) for name in COMPONENTS}
        objects = Registry()
        registries = {**{name: telemetry.metrics for name, telemetry in telemetries.items()}, "objects": objects}
        server = await stack.enter_async_context(running(telemetry=telemetries["apiserver"]))
        group = await stack.enter_async_context(_stopping_group())
        for name, run in _parts(server, telemetries, objects, nodes):
            await group.start(name, run)
        addresses = {}
        for name, registry in registries.items():
            pages = _pages(name, telemetries.get(name), registry)
            serving = await stack.enter_async_context(serve(pages, *LOOPBACK))
            addresses[name] = f"{serving.host}:{serving.port}"
        yield ControlPlane(server, registries, addresses)


def _parts(
    server: RunningServer, telemetries: Mapping[str, Telemetry], objects: Registry, nodes: int
) -> list[tuple[str, Callable[[Callable[[], None]], Any]]]:
    def client(user: str) -> Any:
        return server.client(UserInfo(user, groups=(ALL_AUTHENTICATED,)))

    manager = ControllerManager(
        client("system:kube-controller-manager"), telemetries["controller-manager"], default_options()
    )
    state_metrics = StateMetrics(
        server.client(),
        telemetries["state-metrics"],
        object_registry=objects,
        object_pages=_pages("objects", None, objects),
        own_pages=_pages("state-metrics", telemetries["state-metrics"], telemetries["state-metrics"].metrics),
        address=LOOPBACK,
        own_address=LOOPBACK,
    )
    shape = NodeShape(capacity=_CAPACITY)
    return [
        ("controller-manager", manager.run),
        ("scheduler", Scheduler(client("system:kube-scheduler"), telemetries["scheduler"]).run),
        ("state-metrics", state_metrics.run),
        ("nodes", Fleet(nodes, 0, shape, server.client(), telemetries["kubelet"]).run),
    ]


class _Group:
    """A TaskGroup whose tasks are cancelled when its block is left."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, name: str, run: Callable[[Callable[[], None]], Any]) -> None:
        self._tasks.append(await start(self._group, run, name))

    def stop(self) -> None:
        for task in reversed(self._tasks):
            task.cancel()


@asynccontextmanager
async def _stopping_group() -> AsyncIterator[_Group]:
    async with asyncio.TaskGroup() as tasks:
        group = _Group(tasks)
        try:
            yield group
        finally:
            group.stop()


def _telemetry(component: str, traces: Traces, logs: Logs, nowhere: TextIO) -> Telemetry:
    """Telemetry that keeps everything for the test and writes nothing."""
    log = logging_setup.build(
        LoggingOptions(), nowhere, verbosity=Verbosity(_VERBOSITY), listeners=(logs.listener(component),)
    )
    return Telemetry(log=log, metrics=Registry(), tracer=Tracer(traces.sink(component)), health=Health())


def _pages(name: str, telemetry: Telemetry | None, registry: Registry) -> Pages:
    about = About(name, GIT_VERSION, "1.36", "python", datetime.datetime.now(datetime.UTC))
    shown = telemetry or Telemetry(
        log=logging_setup.build(LoggingOptions()), metrics=registry, tracer=Tracer(), health=Health()
    )
    return Pages(shown, about)
