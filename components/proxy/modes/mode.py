"""What the modes have in common: how the proxy asks for a sync, and what it hears of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from kubeglass.components.proxy.rules import Frontend, Ruleset


@dataclass(slots=True)
class Outcome:
    """What a sync changed, which frontends could not be served, and whether it was carried out at all."""

    opened: int = 0
    closed: int = 0
    updated: int = 0
    failed: dict[Frontend, str] = field(default_factory=dict)
    success: bool = True


class Proxier(Protocol):
    """Carries out the rules of one node."""

    async def sync(self, ruleset: Ruleset) -> Outcome:
        """Make it so. What goes wrong is logged and told in the outcome; the proxy tries again."""
        ...


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to forward traffic, and how often to sync."""

    name: str
    min_sync_seconds: float  # from the end of a sync to the next one
    retry_seconds: float  # after a sync that failed, if nothing changes before
    overdue_seconds: float  # a sync asked for longer ago means that the proxy is not healthy
    open: Callable[[Callable[[], None]], AbstractAsyncContextManager[Proxier]]
    """Takes what asks for a sync when the mode itself needs one. Raises ConfigError when it cannot work here."""
