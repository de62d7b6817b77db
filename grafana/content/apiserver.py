"""The API server: traffic, errors, saturation, watches, admission, who comes in."""

from ..panels import Board, Panel, Query, Section, percentiles, q, quantile, rate, total

JOB = 'job="apiserver"'
SHORT = f'{JOB}, verb!~"WATCH|CONNECT"'

BOARD = Board(
    "kubeglass-apiserver",
    "API server",
    "Requests from the socket to the answer.",
    (
        Section(
            "Requests",
            (
                Panel(
                    "By verb",
                    "Requests answered, by verb.",
                    "reqps",
                    q(rate("apiserver_request_total", "verb", JOB), "{{verb}}"),
                    stacked=True,
                ),
                Panel(
                    "By status",
                    "Requests answered, by status code.",
                    "reqps",
                    q(rate("apiserver_request_total", "code", JOB), "{{code}}"),
                    stacked=True,
                ),
                Panel(
                    "Busiest resources",
                    "The ten resources that most requests are about.",
                    "reqps",
                    q(f"topk(10, {rate('apiserver_request_total', 'resource', JOB)})", "{{resource}}"),
                ),
                Panel(
                    "Errors",
                    "Share of requests that end with a 5xx.",
                    "percentunit",
                    q(
                        f"({rate('apiserver_request_total', '', JOB + ', code=~' + chr(34) + '5..' + chr(34))} or vector(0)) / {rate('apiserver_request_total', '', JOB)}",
                        "5xx",
                    ),
                    runbook="docs/runbooks/apiserver.md#apiservererrors",
                ),
                Panel(
                    "In flight",
                    "Requests being handled, by kind.",
                    "none",
                    q(total("apiserver_current_inflight_requests", "request_kind", JOB), "{{request_kind}}"),
                ),
                Panel(
                    "Long-running",
                    "Watches and streams that are open, by resource.",
                    "none",
                    q(f"topk(10, {total('apiserver_longrunning_requests', 'resource', JOB)})", "{{resource}}"),
                ),
            ),
        ),
        Section(
            "Latency",
            (
                Panel(
                    "All requests",
                    "Whole time in the server, without watches.",
                    "s",
                    percentiles("apiserver_request_duration_seconds", SHORT),
                    runbook="docs/runbooks/apiserver.md#apiserverslow",
                ),
                Panel(
                    "By verb",
                    "99th percentile of the whole time.",
                    "s",
                    q(quantile(0.99, "apiserver_request_duration_seconds", "verb", SHORT), "{{verb}}"),
                    runbook="docs/runbooks/apiserver.md#apiserverslow",
                ),
                Panel(
                    "SLI",
                    "99th percentile without webhooks and queues: what the objective is about.",
                    "s",
                    q(
                        quantile(0.99, "apiserver_request_sli_duration_seconds", "verb, scope", JOB),
                        "{{verb}} {{scope}}",
                    ),
                    runbook="docs/runbooks/apiserver.md#apiserverslow",
                ),
                Panel(
                    "Filters",
                    "99th percentile of the time that each filter of the chain takes itself.",
                    "s",
                    q(quantile(0.99, "apiserver_request_filter_duration_seconds", "filter", JOB), "{{filter}}"),
                ),
                Panel(
                    "Response size",
                    "99th percentile by verb.",
                    "bytes",
                    q(quantile(0.99, "apiserver_response_sizes", "verb", JOB), "{{verb}}"),
                ),
                Panel(
                    "Slowest resources",
                    "The ten resources with the highest 99th percentile.",
                    "s",
                    q(
                        f"topk(10, {quantile(0.99, 'apiserver_request_duration_seconds', 'resource', SHORT)})",
                        "{{resource}}",
                    ),
                ),
            ),
        ),
        Section(
            "Watches",
            (
                Panel(
                    "Events sent",
                    "Watch events written to clients, by kind.",
                    "ops",
                    q(rate("apiserver_watch_events_total", "resource", JOB), "{{resource}}"),
                    stacked=True,
                    conditional="an object changes",
                ),
                Panel(
                    "Cache events",
                    "Events the watch cache received from the store.",
                    "ops",
                    q(
                        f"topk(10, {rate('apiserver_watch_cache_events_received_total', 'resource', JOB)})",
                        "{{resource}}",
                    ),
                ),
                Panel(
                    "Watchers ended",
                    "Watches the server cut because the client did not keep up.",
                    "ops",
                    q(rate("apiserver_terminated_watchers_total", "resource", JOB), "{{resource}}"),
                ),
            ),
        ),
        Section(
            "Admission",
            (
                Panel(
                    "Plugins",
                    "99th percentile per admission plugin.",
                    "s",
                    q(
                        quantile(0.99, "apiserver_admission_controller_admission_duration_seconds", "name", JOB),
                        "{{name}}",
                    ),
                ),
                Panel(
                    "Webhooks",
                    "99th percentile per webhook.",
                    "s",
                    q(
                        quantile(0.99, "apiserver_admission_webhook_admission_duration_seconds", "name", JOB),
                        "{{name}}",
                    ),
                    conditional="a webhook is called",
                ),
                Panel(
                    "Webhook trouble",
                    "Requests refused because of a webhook, and webhooks skipped.",
                    "ops",
                    (
                        Query(
                            rate("apiserver_admission_webhook_rejection_count", "name, error_type", JOB),
                            "{{name}} {{error_type}}",
                        ),
                        Query(rate("apiserver_admission_webhook_fail_open_count", "name", JOB), "{{name}} skipped"),
                    ),
                    conditional="a webhook refuses or fails",
                    runbook="docs/runbooks/apiserver.md#admissionwebhookrefusing",
                ),
            ),
        ),
        Section(
            "Who comes in",
            (
                Panel(
                    "Authentication",
                    "Attempts by result.",
                    "reqps",
                    q(rate("authentication_attempts", "result", JOB), "{{result}}"),
                    runbook="docs/runbooks/apiserver.md#authenticationfailures",
                ),
                Panel(
                    "Authorization",
                    "Decisions by authorizer.",
                    "reqps",
                    q(rate("apiserver_authorization_decisions_total", "type, decision", JOB), "{{type}} {{decision}}"),
                ),
                Panel(
                    "Certificates",
                    "Time left of the client certificates in use, first percentile.",
                    "s",
                    q(quantile(0.01, "apiserver_client_certificate_expiration_seconds", "", JOB), "soonest"),
                    runbook="docs/runbooks/apiserver.md#clientcertificateexpiring",
                ),
            ),
        ),
    ),
)
