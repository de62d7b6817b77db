"""Which watches a write will wake, and how large the collections are: the two inputs of the width estimate.

A watch is counted from the moment flow control starts it until its handler ends.
"""

from __future__ import annotations

from collections import Counter

from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, UNKNOWN_STATS, CollectionStats, pinned_field

WatchKey = tuple[str, str, str, str]

STALE_AFTER_NS = 180 * SECOND
PRUNE_AFTER_NS = 3600 * SECOND


class WatchTracker:
    """Counts open watches per (group, resource, namespace, name)."""

    def __init__(self) -> None:
        self._watches: Counter[WatchKey] = Counter()

    def register(self, digest: RequestDigest, field_selector: str = "") -> WatchKey | None:
        """Counts a watch in; what it returns is what `forget` needs to count it out."""
        key = _watch_key(digest, field_selector)
        if key is not None:
            self._watches[key] += 1
        return key

    def forget(self, key: WatchKey) -> None:
        """The watch has ended."""
        self._watches[key] -= 1
        if not self._watches[key]:
            del self._watches[key]

    def interested(self, digest: RequestDigest) -> int:
        """How many open watches hear of this write."""
        group, resource, namespace, name = digest.api_group, digest.resource, digest.namespace, digest.name
        watches = self._watches
        count = watches.get((group, resource, "", ""), 0)
        if namespace:
            count += watches.get((group, resource, namespace, ""), 0)
        if name:
            count += watches.get((group, resource, namespace, name), 0)
        return count

    def open_watches(self) -> int:
        return self._watches.total()


def _watch_key(digest: RequestDigest, field_selector: str) -> WatchKey | None:
    """None for a pods watch of one node: a write to another node's Pod never reaches it."""
    if field_selector:
        if digest.resource == "pods" and not digest.api_group and pinned_field(field_selector, "spec.nodeName"):
            return None
        name = pinned_field(field_selector, "metadata.name") or digest.name
    else:
        name = digest.name
    return digest.api_group, digest.resource, digest.namespace, name


class CollectionSizes:
    """The last count and average size of every collection, refreshed by the store once a second."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], tuple[CollectionStats, int]] = {}

    def record(self, group: str, resource: str, count: int, average_bytes: int, now: int) -> None:
        """The store counted a collection."""
        self._sizes[group, resource] = (CollectionStats(count, average_bytes), now)

    def prune(self, now: int) -> None:
        """Forgets collections that nobody counted for an hour."""
        self._sizes = {key: row for key, row in self._sizes.items() if now - row[1] <= PRUNE_AFTER_NS}

    def get(self, group: str, resource: str, now: int) -> CollectionStats | None:
        """The size of a collection; the assumed worst when it is stale, None when it is unknown."""
        row = self._sizes.get((group, resource))
        if row is None:
            return None
        stats, seen = row
        return UNKNOWN_STATS if now - seen > STALE_AFTER_NS else stats
