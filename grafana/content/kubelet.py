"""Kubelets: from a Pod that is bound to one that runs."""

from ..panels import Board, Panel, Query, Section, Variable, percentiles, q, quantile, rate, total

WHERE = 'job="kubelet", metrics_path="/metrics", node=~"$node"'
STARTED = "a Pod starts"

BOARD = Board(
    "kubeglass-kubelet",
    "Kubelet and Pod start",
    "What each node runs, how long Pods take to start, and what the runtime does.",
    (
        Section(
            "Nodes",
            (
                Panel(
                    "Running Pods",
                    "Pods with a sandbox.",
                    "none",
                    q(total("kubelet_running_pods", "node", WHERE), "{{node}}"),
                    stacked=True,
                ),
                Panel(
                    "Containers",
                    "Containers by state.",
                    "none",
                    q(total("kubelet_running_containers", "container_state", WHERE), "{{container_state}}"),
                    stacked=True,
                ),
                Panel(
                    "Restarts",
                    "Containers that ended, by reason.",
                    "ops",
                    q(rate("kubelet_terminated_containers_total", "reason", WHERE), "{{reason}}"),
                    conditional="a container ends",
                    runbook="docs/runbooks/workloads.md#podcrashlooping",
                ),
            ),
        ),
        Section(
            "Pod start",
            (
                Panel(
                    "To running",
                    "From seen by the kubelet to running, without image pulls (the SLI).",
                    "s",
                    percentiles("kubelet_pod_start_sli_duration_seconds", WHERE),
                    conditional=STARTED,
                    runbook="docs/runbooks/nodes.md#podstartslow",
                ),
                Panel(
                    "To running, all of it",
                    "With image pulls.",
                    "s",
                    percentiles("kubelet_pod_start_duration_seconds", WHERE),
                    conditional=STARTED,
                ),
                Panel(
                    "Sandbox",
                    "Time to make a Pod's sandbox and network.",
                    "s",
                    percentiles("kubelet_run_podsandbox_duration_seconds", WHERE),
                    conditional=STARTED,
                ),
                Panel(
                    "Worker",
                    "99th percentile of one sync of a Pod, by what it does.",
                    "s",
                    q(
                        quantile(0.99, "kubelet_pod_worker_duration_seconds", "operation_type", WHERE),
                        "{{operation_type}}",
                    ),
                    conditional="a Pod changes",
                ),
                Panel(
                    "Image pulls",
                    "99th percentile.",
                    "s",
                    q(
                        quantile(0.99, "kubelet_image_pull_duration_seconds", "image_size_in_bytes", WHERE),
                        "{{image_size_in_bytes}}",
                    ),
                    conditional="an image is pulled",
                ),
                Panel(
                    "Starts",
                    "Pods and containers started, and failures to.",
                    "ops",
                    (
                        Query(rate("kubelet_started_pods_total", "", WHERE), "pods"),
                        Query(rate("kubelet_started_containers_total", "", WHERE), "containers"),
                        Query(rate("kubelet_started_containers_errors_total", "code", WHERE), "failed {{code}}"),
                    ),
                ),
            ),
        ),
        Section(
            "Runtime",
            (
                Panel(
                    "Operations",
                    "Calls of the runtime.",
                    "ops",
                    q(rate("kubelet_runtime_operations_total", "operation_type", WHERE), "{{operation_type}}"),
                    stacked=True,
                ),
                Panel(
                    "Latency",
                    "99th percentile by operation.",
                    "s",
                    q(
                        quantile(0.99, "kubelet_runtime_operations_duration_seconds", "operation_type", WHERE),
                        "{{operation_type}}",
                    ),
                ),
                Panel(
                    "Errors",
                    "Calls that failed.",
                    "ops",
                    q(
                        rate("kubelet_runtime_operations_errors_total", "node, operation_type", WHERE),
                        "{{node}} {{operation_type}}",
                    ),
                    conditional="a call fails",
                    runbook="docs/runbooks/nodes.md#runtimeerrors",
                ),
                Panel(
                    "Relist",
                    "99th percentile of looking at all containers.",
                    "s",
                    q(quantile(0.99, "kubelet_pleg_relist_duration_seconds", "node", WHERE), "{{node}}"),
                ),
                Panel(
                    "Relist interval",
                    "99th percentile of the time between two looks.",
                    "s",
                    q(quantile(0.99, "kubelet_pleg_relist_interval_seconds", "node", WHERE), "{{node}}"),
                ),
                Panel(
                    "HTTP",
                    "Requests to the kubelet's server.",
                    "reqps",
                    q(rate("kubelet_http_requests_total", "path", WHERE), "{{path}}"),
                ),
            ),
        ),
        Section(
            "Probes and volumes",
            (
                Panel(
                    "Probes",
                    "Probes by type and result.",
                    "ops",
                    q(
                        'sum by (probe_type, result) (rate(prober_probe_total{node=~"$node"}[$__rate_interval]))',
                        "{{probe_type}} {{result}}",
                    ),
                    conditional="a Pod has a probe",
                    runbook="docs/runbooks/workloads.md#probesfailing",
                ),
                Panel(
                    "Volumes",
                    "Volumes wanted and there.",
                    "none",
                    q(total("volume_manager_total_volumes", "state", WHERE), "{{state}}"),
                ),
                Panel(
                    "Claims",
                    "Free share of each claimed volume.",
                    "percentunit",
                    q(
                        f"kubelet_volume_stats_available_bytes{{{WHERE}}} / kubelet_volume_stats_capacity_bytes{{{WHERE}}}",
                        "{{namespace}}/{{persistentvolumeclaim}}",
                    ),
                    conditional="a running Pod mounts a claim",
                    runbook="docs/runbooks/nodes.md#volumefillingup",
                ),
            ),
        ),
    ),
    (Variable("node", "kubelet_node_name", "node"),),
)
