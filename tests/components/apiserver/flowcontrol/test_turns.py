"""Who runs next on one event loop."""

from __future__ import annotations

import asyncio
import contextlib

from kubeglass.components.apiserver.flowcontrol.turns import Turns


async def _ask(turns: Turns, level: str, flow: object, order: list[str], name: str) -> None:
    await turns.take(level, flow)
    order.append(name)


async def test_a_crowd_waits_among_itself() -> None:
    """Of steps that ask together, levels take turns, and within a level its flows; a flow keeps its order."""
    turns, order = Turns(), list[str]()
    asked = [
        ("low", 1, "a1"),
        ("low", 1, "a2"),
        ("low", 1, "a3"),
        ("low", 2, "b1"),
        ("high", 3, "c1"),
        ("high", 3, "c2"),
    ]
    async with asyncio.TaskGroup() as group:
        for level, flow, name in asked:
            group.create_task(_ask(turns, level, flow, order, name))
    assert order == ["a1", "a2", "c1", "b1", "c2", "a3"]
    assert turns.waiting == {}


async def test_the_loop_looks_at_its_sockets_between_turns() -> None:
    """What arrives while a crowd works does not wait until the crowd is done."""
    turns, order = Turns(), list[str]()
    near, far = asyncio.Queue[None](), asyncio.get_running_loop()

    async def someone_else() -> None:
        await near.get()
        order.append("arrived")

    async with asyncio.TaskGroup() as group:
        group.create_task(someone_else())
        for index in range(20):
            group.create_task(_ask(turns, "low", 1, order, f"step {index}"))
        far.call_later(0, near.put_nowait, None)
    assert order.index("arrived") < 10


async def test_who_leaves_gives_its_place_up() -> None:
    """A cancelled step takes no turn, and the others go on."""
    turns, order = Turns(), list[str]()
    async with asyncio.TaskGroup() as group:
        names = ["first", "second", "gone", "next"]
        tasks = [group.create_task(_ask(turns, "low", 1, order, name)) for name in names]
        await asyncio.sleep(0)
        tasks[2].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[2]
    assert order == ["first", "second", "next"]


async def test_a_lone_step_never_waits() -> None:
    """Where nobody else is, a turn is there at once, and again on every pass of the loop."""
    turns = Turns()
    for _ in range(3):
        assert await turns.take("low", 1) == 0.0
        for _ in range(2):
            await asyncio.sleep(0)
