"""The store behind the API server, and the watch caches in front of it."""

from ..panels import Board, Panel, Query, Section, q, quantile, rate, total

JOB = 'job="apiserver"'

BOARD = Board(
    "kubeglass-storage",
    "Store",
    "Calls of the store (etcd's names are kept, whatever store it is), its size, and the watch caches.",
    (
        Section(
            "Calls",
            (
                Panel(
                    "Rate",
                    "Calls by operation.",
                    "ops",
                    q(rate("etcd_requests_total", "operation", JOB), "{{operation}}"),
                    stacked=True,
                ),
                Panel(
                    "Latency",
                    "99th percentile by operation.",
                    "s",
                    q(quantile(0.99, "etcd_request_duration_seconds", "operation", JOB), "{{operation}}"),
                    runbook="docs/runbooks/apiserver.md#storeslow",
                ),
                Panel(
                    "Errors",
                    "Calls that failed.",
                    "ops",
                    q(rate("etcd_request_errors_total", "operation", JOB), "{{operation}}"),
                    conditional="a call fails",
                    runbook="docs/runbooks/apiserver.md#storeerrors",
                ),
            ),
        ),
        Section(
            "Contents",
            (
                Panel(
                    "Size",
                    "Bytes the store takes.",
                    "bytes",
                    q(total("apiserver_storage_size_bytes", "", JOB), "bytes"),
                ),
                Panel(
                    "Objects",
                    "The ten kinds with the most objects.",
                    "none",
                    q(f"topk(10, {total('apiserver_resource_objects', 'resource', JOB)})", "{{resource}}"),
                ),
                Panel(
                    "Watched changes",
                    "Events received from the store.",
                    "ops",
                    q(f"topk(10, {rate('apiserver_storage_events_received_total', 'resource', JOB)})", "{{resource}}"),
                ),
            ),
        ),
        Section(
            "Lists and caches",
            (
                Panel(
                    "Lists from cache",
                    "Lists answered by the watch cache.",
                    "ops",
                    q(f"topk(10, {rate('apiserver_cache_list_total', 'resource', JOB)})", "{{resource}}"),
                ),
                Panel(
                    "Lists from the store",
                    "Lists that read the store.",
                    "ops",
                    q(f"topk(10, {rate('apiserver_storage_list_total', 'resource', JOB)})", "{{resource}}"),
                ),
                Panel(
                    "Objects read and returned",
                    "What lists cost, and what came of it.",
                    "ops",
                    (
                        Query(rate("apiserver_cache_list_fetched_objects_total", "", JOB), "read"),
                        Query(rate("apiserver_cache_list_returned_objects_total", "", JOB), "returned"),
                    ),
                ),
                Panel(
                    "Consistent reads",
                    "Reads that waited until the cache was fresh.",
                    "ops",
                    q(
                        rate("apiserver_watch_cache_consistent_read_total", "success, fallback", JOB),
                        "success={{success}} fallback={{fallback}}",
                    ),
                ),
                Panel(
                    "Wait for freshness",
                    "99th percentile of that wait.",
                    "s",
                    q(quantile(0.99, "apiserver_watch_cache_read_wait_seconds", "", JOB), "p99"),
                ),
                Panel(
                    "Cache dispatch",
                    "Events that caches handed to watches.",
                    "ops",
                    q(
                        f"topk(10, {rate('apiserver_watch_cache_events_dispatched_total', 'resource', JOB)})",
                        "{{resource}}",
                    ),
                ),
            ),
        ),
    ),
)
