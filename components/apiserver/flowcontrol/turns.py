"""Who runs next on the one event loop of a server, between requests that all hold their seats.

The work of a request between two `await`s, a step, cannot be interrupted, and what became ready together runs one after
another before the sockets are looked at again. So a request takes a turn before each step worth one, and there is one
turn per pass of the loop. Turns go round over the priority levels, within a level over its flows, and within a flow in
the order of asking: a crowd waits among itself. Exempt requests wait for nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Turns:
    """Hands out the turns of one event loop."""

    __slots__ = ("_lines", "_taken")

    def __init__(self) -> None:
        # level → flow → its steps; the first of each dictionary is the next to have a turn
        self._lines: dict[str, dict[object, deque[asyncio.Future[None]]]] = {}
        self._taken = False

    def take_now(self) -> bool:
        """Take the turn of this pass of the loop if nobody has."""
        if self._taken:
            return False
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next)
        return True

    async def take(self, level: str, flow: object) -> float:
        """Wait for a turn; how many seconds that took."""
        if self.take_now():
            return 0.0
        asked = time.monotonic()
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(level, {}).setdefault(flow, deque()).append(turn)
        await turn
        return time.monotonic() - asked

    @property
    def waiting(self) -> dict[str, int]:
        """How many steps of each level wait."""
        return {
            level: sum(not turn.done() for line in flows.values() for turn in line)
            for level, flows in self._lines.items()
        }

    def _next(self) -> None:
        """The sockets have been polled since the last turn: hand out the next one."""
        turn = self._pick()
        if turn is None:
            self._taken = False
            return
        turn.set_result(None)
        asyncio.get_running_loop().call_soon(self._next)

    def _pick(self) -> asyncio.Future[None] | None:
        """The next step that still wants a turn; its level and flow go to the end of their lines."""
        while self._lines:
            level = next(iter(self._lines))
            flows = self._lines.pop(level)
            flow = next(iter(flows))
            line = flows.pop(flow)
            turn = line.popleft()
            if line:
                flows[flow] = line
            if flows:
                self._lines[level] = flows
            if not turn.done():  # done: cancelled while it waited
                return turn
        return None
