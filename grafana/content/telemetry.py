"""The telemetry of the telemetry: drops, queues, cardinality, life cycle of metrics, cost of scrapes and rules."""

from ..panels import Board, Panel, Section, q, quantile, rate, total

BOARD = Board(
    "kubeglass-telemetry",
    "Telemetry",
    "Is what the other dashboards show complete, and what does showing it cost?",
    (
        Section(
            "Scrapes",
            (
                Panel(
                    "Samples",
                    "Samples per scrape, by job.",
                    "none",
                    q("job:scrape_samples_scraped:sum", "{{job}}"),
                    stacked=True,
                    runbook="docs/runbooks/telemetry.md#scrapetoolarge",
                ),
                Panel(
                    "Duration",
                    "Time of the slowest scrape of each job.",
                    "s",
                    q("max by (job) (scrape_duration_seconds)", "{{job}}"),
                ),
                Panel(
                    "New series",
                    "Series that appeared with the last scrape.",
                    "none",
                    q("sum by (job) (scrape_series_added)", "{{job}}"),
                ),
                Panel(
                    "Largest metrics",
                    "The ten metrics with the most series.",
                    "none",
                    q('topk(10, count by (__name__) ({job=~"apiserver|kube.*"}))', "{{__name__}}"),
                    "table",
                    runbook="docs/runbooks/telemetry.md#scrapetoolarge",
                ),
                Panel(
                    "Life cycle",
                    "Metrics registered by stability level.",
                    "none",
                    q("sum by (job, stability_level) (registered_metrics_total)", "{{job}} {{stability_level}}"),
                    "table",
                ),
                Panel(
                    "Hidden and disabled",
                    "Metrics that are not shown, and label values that were not expected.",
                    "none",
                    (
                        q(total("hidden_metrics_total", "job"), "{{job}} hidden")[0],
                        q(total("disabled_metrics_total", "job"), "{{job}} disabled")[0],
                        q(
                            total("cardinality_enforcement_unexpected_categorizations_total", "job"),
                            "{{job}} unexpected",
                        )[0],
                    ),
                ),
            ),
        ),
        Section(
            "Spans",
            (
                Panel(
                    "Exported",
                    "Spans that components sent.",
                    "ops",
                    q(rate("kubeglass_tracing_spans_exported_total", "job"), "{{job}}"),
                    stacked=True,
                ),
                Panel(
                    "Dropped",
                    "Spans that components could not keep, by reason.",
                    "ops",
                    q(rate("kubeglass_tracing_spans_dropped_total", "job, reason"), "{{job}} {{reason}}"),
                    runbook="docs/runbooks/telemetry.md#spansdropped",
                ),
                Panel(
                    "Queue",
                    "How full the span queues are.",
                    "percentunit",
                    q("max by (job) (kubeglass_tracing_queue_length / kubeglass_tracing_queue_capacity)", "{{job}}"),
                    runbook="docs/runbooks/telemetry.md#spansdropped",
                ),
                Panel(
                    "Export",
                    "99th percentile of sending one batch.",
                    "s",
                    q(quantile(0.99, "kubeglass_tracing_export_duration_seconds", "job"), "{{job}}"),
                ),
            ),
        ),
        Section(
            "Collector",
            (
                Panel(
                    "Received",
                    "Items accepted, by signal.",
                    "ops",
                    q(
                        rate("kubeglass_collector_received_items_total", "signal, transport"),
                        "{{signal}} {{transport}}",
                    ),
                ),
                Panel(
                    "Refused",
                    "Requests refused, by reason.",
                    "reqps",
                    q(rate("kubeglass_collector_refused_requests_total", "signal, reason"), "{{signal}} {{reason}}"),
                    conditional="the collector refuses something",
                    runbook="docs/runbooks/telemetry.md#collectorrefusing",
                ),
                Panel(
                    "Memory",
                    "Bytes held, of those allowed.",
                    "percentunit",
                    q(
                        "sum(kubeglass_collector_memory_held_bytes) / sum(kubeglass_collector_memory_limit_bytes)",
                        "held",
                    ),
                    runbook="docs/runbooks/telemetry.md#collectorrefusing",
                ),
                Panel(
                    "Commit",
                    "99th percentile of one write of its store.",
                    "s",
                    q(quantile(0.99, "kubeglass_collector_store_commit_duration_seconds"), "p99"),
                    runbook="docs/runbooks/telemetry.md#collectorlosing",
                ),
                Panel(
                    "Store", "Bytes of the store.", "bytes", q(total("kubeglass_collector_store_size_bytes"), "bytes")
                ),
                Panel(
                    "Events dropped",
                    "Kubernetes Events that were not written.",
                    "ops",
                    q(rate("kubeglass_events_dropped_total", "job, reason"), "{{job}} {{reason}}"),
                    conditional="an Event is dropped",
                ),
            ),
        ),
        Section(
            "Prometheus",
            (
                Panel(
                    "Rules",
                    "Time of the slowest rule group.",
                    "s",
                    q("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
                    conditional="Prometheus scrapes itself",
                    runbook="docs/runbooks/telemetry.md#rulesfailing",
                ),
                Panel(
                    "Series",
                    "Series in memory.",
                    "none",
                    q("sum(prometheus_tsdb_head_series)", "series"),
                    conditional="Prometheus scrapes itself",
                ),
                Panel(
                    "Samples",
                    "Samples appended.",
                    "ops",
                    q("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples"),
                    conditional="Prometheus scrapes itself",
                ),
            ),
        ),
    ),
)
