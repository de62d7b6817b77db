"""How the watch handler tells flow control that it has sent its initial events.

Until then a watch holds its seats; afterwards only its stream goes on. Outside of a watch the signal does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

current: ContextVar[Callable[[], None] | None] = ContextVar("watch_initialised", default=None)


def initialised() -> None:
    """All initial events are on their way (cache), or the store watch has started; repeated calls do nothing."""
    signal = current.get()
    if signal is not None:
        signal()
