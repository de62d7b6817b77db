"""The one loop that runs every controller: take a key, reconcile it, count, log and trace, retry on failure.

A reconcile is a span of the trace whose change made it necessary; one that does nothing leaves none. How the span
belongs is decided in telemetry/tracing/causality.py, from what informers told and the queue noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from kubeglass.components.api.errors import ApiError, Conflict
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.semantics import about
from kubeglass.components.machinery.informer import View
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.machinery.workqueue import ShutDown, WorkQueue
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import Trigger, cause_of, merged
from kubeglass.telemetry.tracing.tracer import Span


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile asks for: to be called again after some seconds, or (None) only on the next change."""

    requeue_after_seconds: float | None = None


DONE = Result()


class Reconciler(Protocol):
    """Brings the world one step nearer to what an object wants."""

    @property
    def name(self) -> str: ...

    # kind: Kind, where keys name objects of one kind: its spans say so

    async def reconcile(self, key: str) -> Result:
        """Observe, plan, act. Raising means: try again later."""
        ...


async def run_reconciler(
    reconciler: Reconciler,
    queue: WorkQueue[str],
    telemetry: Telemetry,
    *,
    workers: int = 1,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Run `workers` loops over the queue until it is shut down or the task is cancelled."""
    async with asyncio.TaskGroup() as group:
        for index in range(workers):
            group.create_task(_work(reconciler, queue, telemetry), name=f"{reconciler.name}-{index}")
        started()


async def _work(reconciler: Reconciler, queue: WorkQueue[str], telemetry: Telemetry) -> None:
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        try:
            await _once(reconciler, queue, key, telemetry)
        finally:
            queue.done(key)


async def _once(reconciler: Reconciler, queue: WorkQueue[str], key: str, telemetry: Telemetry) -> None:
    triggers = queue.take_triggers(key)
    with _span(reconciler, queue, key, triggers, telemetry) as span:
        again = await _attempt(reconciler, queue, key, telemetry, span)
        if again is not None:
            queue.note(key, triggers)  # what is left to do belongs to the same change
            again()


def _span(
    reconciler: Reconciler, queue: WorkQueue[str], key: str, triggers: tuple[Trigger, ...], telemetry: Telemetry
) -> Span:
    reaction = merged(triggers, key, asyncio.get_running_loop().time())
    namespace, _, name = key.rpartition("/")
    kind: Kind | None = getattr(reconciler, "kind", None)
    attributes = {
        "controller": reconciler.name,
        "key": key,
        "attempt": queue.failures(key) + 1,
        **(about(kind, namespace, name) if kind else {}),
    }
    return telemetry.tracer.span(
        f"reconcile {reconciler.name.removesuffix('-controller')}",
        attributes=attributes,
        tentative=True,
        **(reaction.arguments if reaction else {"parent": None}),
    )


def look_span(controller: str, kind: Kind, view: View, telemetry: Telemetry) -> Span:
    """The span of a controller without a queue, which looks at all objects now and then, around what it does about one.

    No single change asked for it, so it is a trace of its own, linked to the object's; doing nothing leaves none.
    """
    meta = view.metadata
    cause = cause_of(meta, telemetry.tracer.annotation)
    return telemetry.tracer.span(
        f"reconcile {controller.removesuffix('-controller')}",
        attributes={"controller": controller, **about(kind, meta.namespace, meta.name, getattr(meta, "uid", ""))},
        tentative=True,
        parent=None,
        links=(cause,) if cause is not None else (),
    )


async def _attempt(
    reconciler: Reconciler, queue: WorkQueue[str], key: str, telemetry: Telemetry, span: Span
) -> Callable[[], None] | None:
    """One reconcile; what brings the key back, if it must come back."""
    try:
        result = await reconciler.reconcile(key)
    except Conflict as error:
        # Somebody else wrote first: ordinary, and settled by looking again.
        telemetry.log.v(4).info("Conflict, reconciling again", controller=reconciler.name, key=key, reason=str(error))
        span.event("conflict", reason=str(error))
    except (ApiError, Unreachable) as error:
        telemetry.log.error(error, "Reconciler error", controller=reconciler.name, key=key)
        failed(span, error)
    except Exception as error:
        # One broken object must not end the controller; the traceback goes with the record.
        telemetry.log.error(error, "Observed a panic", controller=reconciler.name, key=key)
        failed(span, error)
    else:
        queue.forget(key)
        seconds = result.requeue_after_seconds
        return None if seconds is None else partial(queue.add_after, key, seconds)
    return partial(queue.add_rate_limited, key)


def failed(span: Span, error: Exception) -> None:
    """Say on the span of a reconcile why it will be tried again."""
    span.record_exception(error)
    span.error(str(error))
