"""How long a request may wait, and how long a rejected client should stay away.

Waiting is limited to a quarter of the request's own deadline. Retry-After grows while a level keeps dropping requests
and shrinks when it calms down: evaluated at the first drop of each new wall-clock second, over the drops of the seconds
before it that lie at most `retry_after` back; three per second doubles it (to 32), fewer than one shortens it by one.
"""

from __future__ import annotations

from collections import deque

from kubeglass.components.apiserver.flowcontrol.seats import SECOND

MAX_RETRY_AFTER = 32
MAX_WAIT_NS = 60 * SECOND
BODY = b"Too many requests, please try again later.\n"


def wait_deadline(received: int, deadline: int | None, default_wait_ns: int) -> int:
    """When the wait of a request ends. `deadline` is None for a request without one (a watch). All monotonic ns."""
    wait = default_wait_ns if deadline is None else (deadline - received) // 4
    return received + min(wait, MAX_WAIT_NS)


class RetryAfter:
    """The advice of one priority level. Seconds are whole wall-clock seconds."""

    __slots__ = ("_drops", "_increased", "_latest", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._drops: deque[list[int]] = deque()  # [second, drops], the newest last
        self._increased = 0
        self._latest = -1

    def dropped(self, second: int) -> None:
        """A request was rejected in this second."""
        if self._latest < 0:
            self._latest = self._increased = second
            self._drops.append([second, 1])
            return
        if second > self._latest:
            self._evaluate(second)
            self._latest = second
            self._drops.append([second, 1])
            return
        self._drops[-1][1] += 1

    def _evaluate(self, second: int) -> None:
        while self._drops and second - self._drops[0][0] > self.seconds:
            self._drops.popleft()
        drops = sum(count for _, count in self._drops)
        if second - self._increased >= self.seconds and drops >= 3 * self.seconds:
            self.seconds = min(self.seconds * 2, MAX_RETRY_AFTER)
            self._increased = second
        elif drops < self.seconds and self.seconds > 1:
            self.seconds -= 1
