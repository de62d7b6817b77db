"""A backend with its calls counted, timed and traced; what is stored and answered is untouched.

Rows keep upstream's `etcd_*` names whichever store is behind, because that is where dashboards look; spans name the
store that really answered (`Create sqlite`, `Get etcd3`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache

from kubeglass.components.api.kinds import KINDS
from kubeglass.components.apiserver.storage.backend import (
    PREFIX,
    Backend,
    Batch,
    Entry,
    KeyExists,
    Page,
    RevisionConflict,
)
from kubeglass.components.apiserver.storage.metrics import ListMetrics, StorageMetrics
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Fixed, Tracer, current_span

_WITH_OBJECT = ("Create", "GuaranteedUpdate")


class MeasuredBackend:
    """Another backend, seen; `tracer` makes the spans of operations."""

    def __init__(self, backend: Backend, registry: Registry, tracer: Tracer) -> None:
        self._backend = backend
        self._metrics = StorageMetrics(registry)
        self._lists = ListMetrics(registry)
        self._tracer = tracer
        self.name = backend.name

    async def start(self) -> None:
        await self._backend.start()

    async def close(self) -> None:
        await self._backend.close()

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        with self._call("get", "Get", key):
            return await self._backend.get(key, revision)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        with self._call("list", "List(recursive=true)", prefix):
            page = await self._backend.list(prefix, start_after=start_after, limit=limit, revision=revision)
        self._listed(prefix, len(page.entries))
        return page

    async def create(self, key: str, value: bytes, ttl_seconds: int = 0) -> int:
        with self._call("create", "Create", key):
            return await self._backend.create(key, value, ttl_seconds)

    async def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int = 0) -> int:
        with self._call("update", "GuaranteedUpdate", key):
            return await self._backend.update(key, value, expected_revision, ttl_seconds)

    async def delete(self, key: str, expected_revision: int) -> int:
        with self._call("delete", "", key):  # upstream has no span for it
            return await self._backend.delete(key, expected_revision)

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        return self._backend.watch(prefix, after_revision)

    async def request_progress(self) -> None:
        await self._backend.request_progress()

    async def compact(self, revision: int) -> None:
        await self._backend.compact(revision)

    async def expire(self, now: float) -> None:
        await self._backend.expire(now)

    async def current_revision(self) -> int:
        return await self._backend.current_revision()

    async def count(self, prefix: str) -> int:
        with self._call("listWithCount", "", prefix):
            return await self._backend.count(prefix)

    async def size_bytes(self) -> int:
        return await self._backend.size_bytes()

    def _listed(self, prefix: str, objects: int) -> None:
        """A page left the store. Selectors are applied behind the cache, so all that was read is returned."""
        labels = resource_of(prefix)
        self._lists.storage_list_total.labels(*labels).inc()
        self._lists.storage_list_fetched_objects_total.labels(*labels).inc(objects)
        self._lists.storage_list_evaluated_objects_total.labels(*labels).inc(objects)
        self._lists.storage_list_returned_objects_total.labels(*labels).inc(objects)

    @contextmanager
    def _call(self, operation: str, span_name: str, key: str) -> Iterator[None]:
        group, resource = resource_of(key)
        metrics = self._metrics
        started = time.perf_counter()
        refused: Exception | None = None
        try:
            if span_name and self._tracer.enabled:
                shared = (*_request(), _about(group, resource, typed=span_name in _WITH_OBJECT))
                with self._tracer.span(f"{span_name} {self.name}", attributes={"key": key}, shared=shared) as span:
                    try:
                        yield
                    except (KeyExists, RevisionConflict) as error:
                        span.event("Txn call failed", err=type(error).__name__)
                        refused = error
            else:
                yield
            if refused is not None:
                raise refused
        except (KeyExists, RevisionConflict):
            raise  # the store answered: a transaction whose condition does not hold is no failure
        except Exception:
            metrics.etcd_request_errors_total.labels(operation, group, resource).inc()
            raise
        finally:
            metrics.etcd_requests_total.labels(operation, group, resource).inc()
            seconds = time.perf_counter() - started
            metrics.etcd_request_duration_seconds.labels(operation, group, resource).observe(seconds)


def _request() -> tuple[Fixed, ...]:
    """What the span of the request's handler says of the request: its audit-id."""
    return tuple(part for part in current_span().shared if "audit-id" in part)


@cache
def _about(group: str, resource: str, *, typed: bool) -> Fixed:
    """A resource, with the Go type that upstream's spans name where they encode or decode an object."""
    return Fixed({"group": group, "resource": resource, **({"type": go_type(group, resource)} if typed else {})})


def go_type(group: str, resource: str) -> str:
    """Upstream's internal type: `*core.Pod`, `*apps.Deployment`; custom resources are `*unstructured.Unstructured`."""
    kind = next((each.kind for each in KINDS if (each.stored_group, each.plural) == (group, resource)), "")
    return f"*{group.partition('.')[0] or 'core'}.{kind}" if kind else "*unstructured.Unstructured"


def resource_of(key: str) -> tuple[str, str]:
    """(group, resource) of a key: a group's name has a dot, or is one of the few old ones that have none."""
    first, _, rest = key.removeprefix(PREFIX).partition("/")
    if "." in first or first in ("apps", "batch", "autoscaling", "policy"):
        return first, rest.partition("/")[0]
    return "", first
