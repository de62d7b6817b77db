"""One screen that says whether the cluster is well, and where to look if it is not."""

from ..panels import Board, Panel, Query, Section, q, quantile, rate, total

BOARD = Board(
    "kubeglass-overview",
    "Cluster overview",
    "Is the cluster well? Start here; every other dashboard is one click away.",
    (
        Section(
            "Health",
            (
                Panel(
                    "API server",
                    "Instances of the API server that answer.",
                    "none",
                    q('sum(max by (instance) (up{job="apiserver"}))'),
                    "stat",
                    width=4,
                    runbook="docs/runbooks/apiserver.md#apiserverdown",
                ),
                Panel(
                    "Nodes Ready",
                    "Nodes whose kubelet reports that it can run Pods.",
                    "none",
                    q('sum(kube_node_status_condition{condition="Ready", status="true"})'),
                    "stat",
                    width=4,
                    runbook="docs/runbooks/nodes.md#nodenotready",
                ),
                Panel(
                    "Pods running",
                    "Pods in phase Running.",
                    "none",
                    q('sum(kube_pod_status_phase{phase="Running"})'),
                    "stat",
                    width=4,
                ),
                Panel(
                    "Pods not ready",
                    "Running Pods that fail their readiness.",
                    "none",
                    q(
                        'sum((kube_pod_status_ready{condition="false"} == 1) and on (namespace, pod) (kube_pod_status_phase{phase="Running"} == 1)) or vector(0)'
                    ),
                    "stat",
                    width=4,
                    runbook="docs/runbooks/workloads.md#podnotready",
                ),
                Panel(
                    "Alerts firing",
                    "Alerts that fire now, the Watchdog left out.",
                    "none",
                    q('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)'),
                    "stat",
                    width=4,
                    runbook="docs/runbooks/telemetry.md#watchdog",
                ),
                Panel(
                    "Targets down",
                    "Targets that Prometheus cannot scrape.",
                    "none",
                    q("count(up == 0) or vector(0)"),
                    "stat",
                    width=4,
                    runbook="docs/runbooks/telemetry.md#targetdown",
                ),
            ),
        ),
        Section(
            "Requests",
            (
                Panel(
                    "Requests by code",
                    "Requests the API server answered, by class of status.",
                    "reqps",
                    q("code_class:apiserver_request:rate5m", "{{code_class}}"),
                    stacked=True,
                    runbook="docs/runbooks/apiserver.md#apiservererrors",
                ),
                Panel(
                    "Request latency",
                    "99th percentile by verb, without watches.",
                    "s",
                    q(
                        quantile(
                            0.99, "apiserver_request_duration_seconds", "verb", 'job="apiserver", verb!~"WATCH|CONNECT"'
                        ),
                        "{{verb}}",
                    ),
                    runbook="docs/runbooks/apiserver.md#apiserverslow",
                ),
                Panel(
                    "Rejected requests",
                    "Requests that flow control turned away with 429.",
                    "reqps",
                    q(
                        rate("apiserver_flowcontrol_rejected_requests_total", "flow_schema, reason"),
                        "{{flow_schema}} {{reason}}",
                    ),
                    conditional="a request is rejected",
                    runbook="docs/runbooks/apiserver.md#requestsrejected",
                ),
            ),
        ),
        Section(
            "Workloads",
            (
                Panel(
                    "Pods by phase",
                    "What Pods are doing.",
                    "none",
                    q(total("kube_pod_status_phase", "phase"), "{{phase}}"),
                    stacked=True,
                ),
                Panel(
                    "Restarts",
                    "Containers started again.",
                    "ops",
                    q(rate("kube_pod_container_status_restarts_total", "namespace"), "{{namespace}}"),
                    runbook="docs/runbooks/workloads.md#podcrashlooping",
                ),
                Panel(
                    "Waiting containers",
                    "Containers that cannot start, by reason.",
                    "none",
                    q("sum by (reason) (kube_pod_container_status_waiting_reason)", "{{reason}}"),
                    conditional="a container waits",
                    runbook="docs/runbooks/workloads.md#imagepullfailing",
                ),
                Panel(
                    "Pod start",
                    "From seen by the kubelet to running, without image pulls.",
                    "s",
                    q(quantile(0.99, "kubelet_pod_start_sli_duration_seconds", "node"), "p99 {{node}}"),
                    conditional="a Pod starts",
                    runbook="docs/runbooks/nodes.md#podstartslow",
                ),
                Panel(
                    "CPU of components",
                    "Processor time of each component.",
                    "percentunit",
                    q(
                        'sum by (job) (rate(process_cpu_seconds_total{job!="node-exporter"}[$__rate_interval]))',
                        "{{job}}",
                    ),
                    stacked=True,
                ),
                Panel(
                    "Memory of components",
                    "Resident memory of each component.",
                    "bytes",
                    (Query(total("process_resident_memory_bytes", "job"), "{{job}}"),),
                    stacked=True,
                ),
            ),
        ),
    ),
)
