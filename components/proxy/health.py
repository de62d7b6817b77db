"""kube-proxy's own health address: healthy while syncs are not overdue and the node is not going away.

Upstream: pkg/proxy/healthcheck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from kubeglass.components.api.objects import Node

DELETION_TAINT = "ToBeDeletedByClusterAutoscaler"


class ProxyHealth:
    """When the last sync was asked for and when it was done. One asked for longer ago than the timeout is overdue."""

    def __init__(self, now: Callable[[], float], timeout_seconds: float) -> None:
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._updated_at = now()
        self._asked_at: float | None = None
        self._node: Node | None = None

    def asked(self) -> None:
        """A change wants a sync."""
        if self._asked_at is None:
            self._asked_at = self._now()

    def updated(self) -> None:
        """A sync is done."""
        self._asked_at = None
        self._updated_at = self._now()

    def node_is(self, node: Node | None) -> None:
        """The node object as it is now."""
        self._node = node

    @property
    def alive(self) -> bool:
        return self._asked_at is None or self._now() - self._asked_at < self._timeout_seconds

    @property
    def eligible(self) -> bool:
        """Whether load balancers should send traffic here."""
        node = self._node
        if node is None:
            return True
        return not node.metadata.deletion_timestamp and not _tainted(node)

    def body(self) -> bytes:
        """The answer of /healthz and /livez."""
        answer = {
            "lastUpdated": _go_time(self._updated_at if self._asked_at else self._now()),
            "currentTime": _go_time(self._now()),
            "nodeEligible": self.eligible,
        }
        return msgspec.json.encode(answer)


def _tainted(node: Node) -> bool:
    keys: Iterable[str] = (taint.key for taint in node.spec.taints)
    return DELETION_TAINT in keys


def _go_time(seconds: float) -> str:
    """As Go prints a time: `2026-01-02 15:04:05.999999 +0000 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"
