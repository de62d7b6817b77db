"""A minimal event loop: readable descriptors, ended children, timers. Stdlib only; no threads, no asyncio."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

Callback = Callable[[], object]


class Loop:
    """Runs callbacks one at a time until `stop`."""

    def __init__(self, on_child: Callable[[int, int], None]) -> None:
        self._on_child = on_child
        self._poll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Callback]] = []
        self._sequence = 0
        self._running = True
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._wakeup = reader
        self.on_readable(reader, self._reap)

    def on_readable(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` has data or ended."""
        self._callbacks[fd] = callback
        self._poll.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """No more callbacks for `fd`; the caller closes it."""
        if self._callbacks.pop(fd, None):
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> None:
        """Call back once, later."""
        self._sequence += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._sequence, callback))

    def stop(self) -> None:
        """Return from `run` after the current callback."""
        self._running = False

    def run(self) -> None:
        """Serve until stopped."""
        self._reap()
        while self._running:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
            for fd, _ in self._poll.poll(timeout):
                callback = self._callbacks.get(fd)
                if callback:
                    callback()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def _reap(self) -> None:
        try:
            os.read(self._wakeup, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._on_child(pid, status)
