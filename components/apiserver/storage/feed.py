"""Waking waiters: one signal that many coroutines may await, without a queue per waiter.

A watcher remembers the revision it has reached and reads on from the log when the signal fires, so a slow watcher
costs no memory; the log itself is the only buffer.
"""

from __future__ import annotations

import asyncio


class Signal:
    """Fires for everyone who is waiting at that moment."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Return when `fire` is called next."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiting)

    def fire(self) -> None:
        """Wake everyone. Call it on the loop's thread."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
