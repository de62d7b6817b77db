"""What flow control costs: CPU per admitted request, step by step, and memory per queued request.

The bounds are 25 µs and 2 KB per request; `theirs` is the plain max-in-flight counter it replaces. The bound on CPU is
for a core that adds up a million integers in 40 ms, as one of two quiet virtual ones does. On a slower or a shared one
everything takes longer, so the figure is shown as it was measured, and then as it would be on that core: divided by how
much longer the sum took, just before and just after. A faster core gets no discount: there both figures are the same.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable

from tests.benchmarks.report import Row

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.apiserver.flowcontrol.controller import FlowController, Ticket
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.records import Caller
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.telemetry.metrics.registry import Registry

_BATCH = 2000
_QUEUED = 10_000
_CPU_BOUND_MICROSECONDS = 25.0
_MEMORY_BOUND_MEGABYTES = 20.0
_TICKET = "ticket (the two above and their metrics)"
_QUEUE = "queue set: arrive, dispatch, finish"
_RECORD = "recorder and talkers"


def _controller() -> FlowController:
    controller = FlowController(600, FlowControlMetrics(Registry()))
    controller.configure(SCHEMAS, LEVELS)
    return controller


def _digest(number: int) -> RequestDigest:
    user = f"system:serviceaccount:team-{number % 50}:worker"
    groups = ("system:serviceaccounts", f"system:serviceaccounts:team-{number % 50}", "system:authenticated")
    return RequestDigest(user, groups, True, "get", "", "v1", "pods", "", f"team-{number % 50}", "p", "/api/v1/…")


def _measured(step: Callable[[], object], rounds: int, per: int = _BATCH) -> float:
    """Median CPU microseconds of one item of a step."""
    step()
    taken = []
    for _ in range(rounds):
        started = time.process_time_ns()
        step()
        taken.append((time.process_time_ns() - started) / per / 1000)
    return statistics.median(taken)


def _slowness() -> float:
    """How many times slower than the core of the bound this one now is; never below 1."""

    def add_up() -> int:
        total = 0
        for number in range(100_000):
            total += number
        return total

    return max(1.0, _measured(add_up, 9, 1) / 4000)


def _steps(rounds: int) -> Iterable[tuple[str, float]]:
    controller, digests = _controller(), [_digest(number) for number in range(_BATCH)]
    regulator, now = controller.regulator, time.monotonic_ns

    def classify() -> None:
        for digest in digests:
            regulator.classify(digest)

    def estimate_and_hash() -> None:
        for digest in digests:
            flow = regulator.flow("service-accounts")
            flow.request(digest, regulator.estimate(digest, {}, flow.level, 0)[0])

    def queue() -> None:
        for digest in digests:
            flow = regulator.flow("service-accounts")
            request = controller.ticket(digest).request
            flow.level.queues.arrive(request, now())
            flow.level.queues.finish(request, now())
            request.owner = None

    def tickets() -> None:
        for digest in digests:
            controller.ticket(digest).request.owner = None  # as at the end of a request, so that nothing is a cycle

    account = controller.ticket(digests[0])

    def remember() -> None:
        for _ in range(_BATCH):
            controller.recorder.add(controller._record(account, "executed", 0), 0)

    made = _measured(tickets, rounds)
    yield "classify", _measured(classify, rounds)
    yield "width, hash", _measured(estimate_and_hash, rounds)
    yield _TICKET, made
    yield _QUEUE, _measured(queue, rounds) - made
    yield _RECORD, _measured(remember, rounds)


async def _admissions(controller: FlowController, digests: list[RequestDigest], caller: Caller) -> None:
    for digest in digests:
        async with controller.ticket(digest, {}, caller):
            pass


async def _counted(digests: list[RequestDigest]) -> None:
    """What max-in-flight does: compare, count up, count down."""
    inflight = {"readOnly": 0, "mutating": 0}
    for digest in digests:
        kind = "readOnly" if digest.verb in ("get", "list", "watch") else "mutating"
        if inflight[kind] < 400:
            inflight[kind] += 1
            try:
                await _nothing()
            finally:
                inflight[kind] -= 1


async def _nothing() -> None:
    return None


def _cpu(rounds: int) -> tuple[float, float]:
    controller, caller = _controller(), Caller("127.0.0.1:1", "bench")
    digests = [_digest(number) for number in range(_BATCH)]
    with asyncio.Runner() as runner:
        ours = _measured(lambda: runner.run(_admissions(controller, digests, caller)), rounds)
        theirs = _measured(lambda: runner.run(_counted(digests)), rounds)
    return ours, theirs


def _contended(rounds: int) -> float:
    """CPU of a request while every queue of a level holds waiting requests: 600 callers, 20 seats."""

    async def storm(controller: FlowController) -> None:
        controller.regulator.levels["workload-low"].queues.set_limit(20, controller.now())

        async def client(number: int) -> None:
            for _ in range(5):
                async with controller.ticket(_digest(number)):
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(600):
                group.create_task(client(number))

    with asyncio.Runner() as runner:
        controller = _controller()
        return _measured(lambda: runner.run(storm(controller)), max(3, rounds // 3), 3000)


async def _queued_bytes() -> float:
    """Bytes that flow control adds to a task that waits, for each of many waiting tasks."""
    controller = _controller()
    queues = controller.regulator.levels["workload-low"].queues
    queues.reconfigure(type(queues.config)(128, 6, 500), 0, controller.now())
    digests = [_digest(number) for number in range(_QUEUED)]
    event = asyncio.Event()

    async def plain() -> None:
        await event.wait()

    async def queued(ticket: Ticket) -> None:
        async with ticket:
            pass

    async def grown(start: Callable[[asyncio.TaskGroup], None]) -> float:
        gc.collect()
        before = after = tracemalloc.get_traced_memory()[0]
        try:
            async with asyncio.TaskGroup() as group:
                start(group)
                await asyncio.sleep(0)
                gc.collect()
                after = tracemalloc.get_traced_memory()[0]
                raise _Measured
        except* _Measured:
            pass
        return (after - before) / _QUEUED

    def plain_tasks(group: asyncio.TaskGroup) -> None:
        for _ in range(_QUEUED):
            group.create_task(plain())

    def queued_tasks(group: asyncio.TaskGroup) -> None:
        for digest in digests:
            group.create_task(queued(controller.ticket(digest, {}, Caller("127.0.0.1:1"), received=0, deadline=10**18)))

    tracemalloc.start()
    try:
        return await grown(queued_tasks) - await grown(plain_tasks)
    finally:
        tracemalloc.stop()


class _Measured(Exception):
    """Ends a measurement."""


def run(rounds: int) -> Iterable[Row]:
    """All rows."""
    steps = dict(_steps(rounds))
    for step, cost in steps.items():
        yield Row(f"step: {step}", f"{cost:.1f} µs", "", cost, "", True)
    before = _slowness()
    ours, theirs = _cpu(rounds)
    slowness = (before + _slowness()) / 2
    rest = ours - steps[_TICKET] - steps[_QUEUE] - steps[_RECORD]
    yield Row("step: the rest: coroutines, requests in flight, execution time", f"{rest:.1f} µs", "", rest, "", True)
    bound = f"<= {_CPU_BOUND_MICROSECONDS:.0f} µs"
    ratio = ours / slowness / _CPU_BOUND_MICROSECONDS
    yield Row("an admitted request, as measured", f"{ours:.1f} µs", f"{theirs:.2f} µs", ours / theirs, "", True)
    yield Row(
        f"the same on the core of the bound ({slowness:.2f} times faster)",
        f"{ours / slowness:.1f} µs",
        f"{theirs / slowness:.2f} µs",
        ratio,
        bound,
        ratio <= 1,
    )
    contended = _contended(rounds)
    yield Row("as measured, 580 of 600 callers queued", f"{contended:.1f} µs", "", contended / ours, "", True)
    megabytes = asyncio.run(_queued_bytes()) * _QUEUED / 1e6
    ratio = megabytes / _MEMORY_BOUND_MEGABYTES
    yield Row("10,000 queued requests", f"{megabytes:.1f} MB", "", ratio, "<= 20 MB", ratio <= 1)
