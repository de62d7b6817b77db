"""A cluster for ordinary, synchronous test code: it lives on an event loop in a thread of its own; any client reaches
it over real TLS (`cluster.kubeconfig`); `cluster.metrics`, `.traces` and `.logs` are its signals.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kubeglass.components.api.errors import NotFound
from kubeglass.components.api.kinds import KINDS, Kind
from kubeglass.components.machinery.client import Client, Object
from kubeglass.components.testing.controlplane import ControlPlane, control_plane
from kubeglass.components.testing.signals import Logs, Metrics, Traces

T = TypeVar("T")
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 10.0
_MANAGER = "kubeglass.testing"


class Cluster:
    """A running cluster. Made by `running_cluster` or the fixture `cluster`."""

    def __init__(self, plane: ControlPlane, loop: asyncio.AbstractEventLoop, traces: Traces, logs: Logs) -> None:
        self._loop = loop
        self._client: Client = plane.server.client()
        self.plane = plane
        self.metrics = Metrics(plane.registries, self._on_loop)
        self.traces = traces
        self.logs = logs
        self.kubeconfig: Path = plane.server.kubeconfig()

    @property
    def url(self) -> str:
        """The API server's URL."""
        return self.plane.server.url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the cluster's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_SECONDS)

    def _on_loop(self, work: Callable[[], T]) -> T:
        async def call() -> T:
            return work()

        return self.run(call())

    def apply(self, manifest: str | Path | Mapping[str, Any]) -> list[Object]:
        """Apply the objects of a YAML text, a file, or one object, as `kubectl apply --server-side` does."""
        return [self.run(self._apply(document)) for document in _documents(manifest)]

    async def _apply(self, document: Mapping[str, Any]) -> Object:
        kind = next(k for k in KINDS if (k.api_version, k.kind) == (document["apiVersion"], document["kind"]))
        meta = document["metadata"]
        namespace = meta.get("namespace", "default") if kind.namespaced else ""
        return await self._client.patch(
            kind, meta["name"], dict(document), namespace, patch_type="apply", field_manager=_MANAGER, force=True
        )

    def get(self, kind: str, name: str, namespace: str = "default") -> Object | None:
        """An object by kind (as kubectl names it: pods, pod, po, deployments.apps), None when there is none."""
        found = kind_named(kind)
        try:
            return self.run(self._client.get(found, name, namespace if found.namespaced else ""))
        except NotFound:
            return None

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """The objects of a kind, of all namespaces by default."""
        return self.run(self._client.list(kind_named(kind), namespace, label_selector=selector)).items

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object; that there is none is fine."""
        found = kind_named(kind)
        try:
            self.run(self._client.delete(found, name, namespace if found.namespaced else ""))
        except NotFound:
            return

    def eventually(self, condition: Callable[[], T], what: str = "", within: float = _PATIENCE_SECONDS) -> T:
        """Wait until the condition is true; its value. An AssertionError inside means: not yet."""
        deadline = time.monotonic() + within
        last: AssertionError | None = None
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except AssertionError as error:
                last = error
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"within {within:g} s it did not come true{f' that {what}' if what else ''}") from last

    def ready(self, kind: str, name: str, namespace: str = "default", within: float = _PATIENCE_SECONDS) -> Object:
        """Wait until a workload has all the replicas it asks for, or a Pod is Ready; the object."""

        def found() -> Object:
            there = self.get(kind, name, namespace)
            return there if there and _is_ready(there) else {}

        return self.eventually(found, f"{kind} {namespace}/{name} is ready", within)


def kind_named(word: str) -> Kind:
    """A kind by plural, singular, short name or kind, with or without its group. Raises ValueError."""
    name, _, group = word.lower().partition(".")
    for kind in KINDS:
        names = (kind.plural, kind.singular, kind.kind.lower(), *kind.short_names)
        if name in names and group in ("", kind.group):
            return kind
    raise ValueError(f"there is no kind {word!r}")


def _is_ready(obj: Object) -> bool:
    spec, status = obj.get("spec", {}), obj.get("status", {})
    if obj["kind"] == "Pod":
        return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))
    if obj["kind"] == "DaemonSet":
        return bool(status.get("numberReady", 0) == status.get("desiredNumberScheduled", -1))
    observed = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
    return bool(observed and status.get("readyReplicas", 0) == spec.get("replicas", 1))


def _documents(manifest: str | Path | Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(manifest, Mapping):
        yield manifest
        return
    import yaml

    text = manifest.read_text() if isinstance(manifest, Path) else manifest
    yield from (document for document in yaml.safe_load_all(text) if document)


@contextmanager
def running_cluster(nodes: int = 1) -> Iterator[Cluster]:
    """A cluster with `nodes` simulated nodes, until the block is left. Any number may run side by side."""
    traces, logs = Traces(), Logs()
    ready: concurrent.futures.Future[tuple[ControlPlane, asyncio.AbstractEventLoop, asyncio.Event]]
    ready = concurrent.futures.Future()

    async def live() -> None:
        stop = asyncio.Event()
        async with control_plane(nodes, traces, logs) as plane:
            ready.set_result((plane, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=_run, args=(live, ready), name="kubeglass-cluster")
    with _without_collector():
        thread.start()
        plane, loop, stop = ready.result()
    try:
        yield Cluster(plane, loop, traces, logs)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def _without_collector() -> Iterator[None]:
    """A start makes many objects and no garbage worth a search: a quarter of its time would go into looking for it."""
    was_on = gc.isenabled()  # of two starts side by side the one that found it on turns it on again
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _run(live: Callable[[], Coroutine[Any, Any, None]], ready: concurrent.futures.Future[Any]) -> None:
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(live())
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
