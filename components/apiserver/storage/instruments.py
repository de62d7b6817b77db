"""The watch cache's instruments with the labels of one resource already chosen, so that counting costs no look-up."""

from __future__ import annotations

from kubeglass.components.apiserver.storage.metrics import StorageMetrics, WatchCacheMetrics


class ResourceInstruments:
    """What is counted for one resource (`group` "" for core)."""

    def __init__(self, cache: WatchCacheMetrics, storage: StorageMetrics, group: str, resource: str) -> None:
        labels = (group, resource)
        self.stored_events = storage.storage_events_received_total.labels(*labels)
        self.received = cache.watch_cache_events_received_total.labels(*labels)
        self.dispatched = cache.watch_cache_events_dispatched_total.labels(*labels)
        self.initializations = cache.watch_cache_initializations_total.labels(*labels)
        self.resource_version = cache.watch_cache_resource_version.labels(*labels)
        self.read_wait = cache.watch_cache_read_wait_seconds.labels(*labels)
        self.consistent_read = cache.watch_cache_consistent_read_total.labels(*labels, "true", "false")
        self.fallback_read = cache.watch_cache_consistent_read_total.labels(*labels, "true", "true")
        self.lists = cache.cache_list_total.labels(*labels, "")
        self.list_fetched = cache.cache_list_fetched_objects_total.labels(*labels, "")
        self.list_returned = cache.cache_list_returned_objects_total.labels(*labels)
        self.initial_events = cache.init_events_total.labels(*labels)
        self.terminated = cache.terminated_watchers_total.labels(*labels)
        self.capacity = cache.watch_cache_capacity.labels(*labels)
        self._grown = cache.watch_cache_capacity_increase_total.labels(*labels)
        self._shrunk = cache.watch_cache_capacity_decrease_total.labels(*labels)

    def resized(self, capacity: int, *, grown: bool) -> None:
        """The ring of changes got another capacity."""
        self.capacity.set(capacity)
        (self._grown if grown else self._shrunk).inc()
