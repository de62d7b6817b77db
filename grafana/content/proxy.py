"""Proxies: how Services reach the nodes."""

from ..panels import Board, Panel, Section, Variable, percentiles, q, quantile, rate, total

WHERE = 'job="kube-proxy", instance=~"$node"'
CHANGED = "the endpoints of a Service change"

BOARD = Board(
    "kubeglass-proxy",
    "Proxy and network programming",
    "From a changed endpoint to a rule in force.",
    (
        Section(
            "Programming",
            (
                Panel(
                    "Network programming",
                    "From the change of an endpoint to its being in force.",
                    "s",
                    percentiles("kubeproxy_network_programming_duration_seconds", WHERE),
                    conditional=CHANGED,
                    runbook="docs/runbooks/controlplane.md#networkprogrammingslow",
                ),
                Panel(
                    "Sync",
                    "99th percentile of one round of syncing rules.",
                    "s",
                    q(quantile(0.99, "kubeproxy_sync_proxy_rules_duration_seconds", "instance", WHERE), "{{instance}}"),
                    conditional=CHANGED,
                ),
                Panel(
                    "Since the last sync",
                    "Time since rules were last brought in force.",
                    "s",
                    q(
                        f"time() - max by (instance) (kubeproxy_sync_proxy_rules_last_timestamp_seconds{{{WHERE}}})",
                        "{{instance}}",
                    ),
                ),
                Panel(
                    "Changes",
                    "Changes of Services and of their endpoints that arrived.",
                    "ops",
                    (
                        q(rate("kubeproxy_sync_proxy_rules_service_changes_total", "", WHERE), "services")[0],
                        q(rate("kubeproxy_sync_proxy_rules_endpoint_changes_total", "", WHERE), "endpoints")[0],
                    ),
                ),
                Panel(
                    "Pending",
                    "Changes that are not in force yet.",
                    "none",
                    (
                        q(total("kubeproxy_sync_proxy_rules_service_changes_pending", "", WHERE), "services")[0],
                        q(total("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "", WHERE), "endpoints")[0],
                    ),
                ),
                Panel(
                    "API calls",
                    "Requests of the proxies by status.",
                    "reqps",
                    q(rate("rest_client_requests_total", "code", WHERE), "{{code}}"),
                    runbook="docs/runbooks/controlplane.md#apiunreachable",
                ),
            ),
        ),
        Section(
            "Services",
            (
                Panel(
                    "Services",
                    "Services by type.",
                    "none",
                    q("count by (type) (kube_service_spec_type)", "{{type}}"),
                    stacked=True,
                ),
                Panel(
                    "Endpoints",
                    "Endpoints by readiness.",
                    "none",
                    q("sum by (ready) (kube_endpointslice_endpoints)", "ready={{ready}}"),
                    stacked=True,
                ),
                Panel(
                    "Health",
                    "Answers of the proxies' health check.",
                    "reqps",
                    q(rate("kubeproxy_proxy_healthz_total", "code", WHERE), "{{code}}"),
                    conditional="somebody asks for the proxies' health",
                ),
            ),
        ),
    ),
    (Variable("node", "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "instance"),),
)
