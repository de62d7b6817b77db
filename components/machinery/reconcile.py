"""The one loop that runs every controller: take a key, reconcile it, count, log and trace, retry on failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kubeglass.components.api.errors import ApiError, Conflict
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.machinery.workqueue import ShutDown, WorkQueue
from kubeglass.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile asks for: to be called again after some seconds, or (None) only on the next change."""

    requeue_after_seconds: float | None = None


DONE = Result()


class Reconciler(Protocol):
    """Brings the world one step nearer to what an object wants."""

    @property
    def name(self) -> str: ...

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
    try:
        result = await reconciler.reconcile(key)
    except Conflict as error:
        # Somebody else wrote first: ordinary, and settled by looking again.
        telemetry.log.v(4).info("Conflict, reconciling again", controller=reconciler.name, key=key, reason=str(error))
        queue.add_rate_limited(key)
    except (ApiError, Unreachable) as error:
        telemetry.log.error(error, "Reconciler error", controller=reconciler.name, key=key)
        queue.add_rate_limited(key)
    except Exception as error:
        # One broken object must not end the controller; the traceback goes with the record.
        telemetry.log.error(error, "Observed a panic", controller=reconciler.name, key=key)
        queue.add_rate_limited(key)
    else:
        queue.forget(key)
        if result.requeue_after_seconds is not None:
            queue.add_after(key, result.requeue_after_seconds)
