"""Rate, errors and duration of spans, from the collector's span metrics (the spanmetrics connector's names)."""

from ..panels import Board, Panel, Section, Variable, q

WHERE = 'service_name=~"$service"'
CALLS, DURATION = "traces_span_metrics_calls_total", "traces_span_metrics_duration_milliseconds_bucket"

BOARD = Board(
    "kubeglass-traces",
    "Traces",
    "Rate, errors, duration: every span that the collector received. Follow an exemplar to one trace.",
    (
        Section(
            "Services",
            (
                Panel(
                    "Rate",
                    "Spans that servers and consumers finished, by service.",
                    "ops",
                    q(
                        f'sum by (service_name) (rate({CALLS}{{{WHERE}, span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER|SPAN_KIND_INTERNAL"}}[$__rate_interval]))',
                        "{{service_name}}",
                    ),
                    stacked=True,
                ),
                Panel(
                    "Errors",
                    "Share of spans with status ERROR.",
                    "percentunit",
                    q(f"service_span:traces_span_metrics_errors:ratio_rate5m{{{WHERE}}}", "{{service_name}}"),
                    conditional="a span ends with an error",
                ),
                Panel(
                    "Duration",
                    "99th percentile by service.",
                    "ms",
                    q(
                        f"histogram_quantile(0.99, sum by (service_name, le) (rate({DURATION}{{{WHERE}}}[$__rate_interval])))",
                        "{{service_name}}",
                    ),
                ),
            ),
        ),
        Section(
            "Operations",
            (
                Panel(
                    "Busiest",
                    "The ten most frequent spans.",
                    "ops",
                    q(
                        f"topk(10, sum by (service_name, span_name) (rate({CALLS}{{{WHERE}}}[$__rate_interval])))",
                        "{{service_name}} {{span_name}}",
                    ),
                    "table",
                    width=12,
                ),
                Panel(
                    "Slowest",
                    "The ten spans with the highest 99th percentile.",
                    "ms",
                    q(
                        f"topk(10, histogram_quantile(0.99, sum by (service_name, span_name, le) (rate({DURATION}{{{WHERE}}}[$__rate_interval]))))",
                        "{{service_name}} {{span_name}}",
                    ),
                    "table",
                    width=12,
                ),
                Panel(
                    "Failing",
                    "The ten spans that fail most.",
                    "ops",
                    q(
                        f'topk(10, sum by (service_name, span_name) (rate({CALLS}{{{WHERE}, status_code="STATUS_CODE_ERROR"}}[$__rate_interval])))',
                        "{{service_name}} {{span_name}}",
                    ),
                    "table",
                    width=12,
                    conditional="a span ends with an error",
                ),
                Panel(
                    "By kind",
                    "Spans by kind.",
                    "ops",
                    q(f"sum by (span_kind) (rate({CALLS}{{{WHERE}}}[$__rate_interval]))", "{{span_kind}}"),
                    width=12,
                ),
            ),
        ),
    ),
    (Variable("service", CALLS, "service_name"),),
)
