"""What can be measured of logs: what arrives, what it weighs. The lines themselves are in DIR/logs and the console."""

from ..panels import Board, Panel, Section, q, rate, total

SHIPPED = "components ship log records to the collector"

BOARD = Board(
    "kubeglass-logs",
    "Logs",
    "The flow of log records, not the lines: the collector keeps records by trace and serves them with it, to the console"
    " and at /api/traces/ID/logs, and Grafana has no data source for that. The lines are in DIR/logs; with --log-otlp those"
    " of a request are beside its trace.",
    (
        Section(
            "Collector",
            (
                Panel(
                    "Received",
                    "Log records that the collector accepted, by transport.",
                    "ops",
                    q(rate("kubeglass_collector_received_items_total", "transport", 'signal="logs"'), "{{transport}}"),
                    conditional=SHIPPED,
                ),
                Panel(
                    "Stored",
                    "Log records written to the store.",
                    "ops",
                    q(rate("kubeglass_collector_stored_items_total", "", 'signal="logs"'), "stored"),
                    conditional=SHIPPED,
                ),
                Panel(
                    "Lost",
                    "Log records that could not be written.",
                    "ops",
                    q(rate("kubeglass_collector_store_lost_items_total", "", 'signal="logs"'), "lost"),
                    conditional="a record is lost",
                    runbook="docs/runbooks/telemetry.md#collectorlosing",
                ),
            ),
        ),
        Section(
            "Containers",
            (
                Panel(
                    "Log size",
                    "Bytes of containers' logs on disk, the ten largest.",
                    "bytes",
                    q(
                        "topk(10, sum by (namespace, pod, container) (kubelet_container_log_filesystem_used_bytes))",
                        "{{namespace}}/{{pod}} {{container}}",
                    ),
                    conditional="a container has written",
                ),
                Panel(
                    "Log size by node",
                    "Bytes of containers' logs on each node.",
                    "bytes",
                    q(total("kubelet_container_log_filesystem_used_bytes", "node"), "{{node}}"),
                    stacked=True,
                    conditional="a container has written",
                ),
                Panel(
                    "Log requests",
                    "Requests for container logs that the API server passed on.",
                    "reqps",
                    q(
                        rate("apiserver_request_total", "code", 'job="apiserver", resource="pods", subresource="log"'),
                        "{{code}}",
                    ),
                    conditional="somebody reads a log",
                ),
            ),
        ),
    ),
)
