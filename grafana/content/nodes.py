"""Nodes and containers: processor, memory, disk."""

from ..panels import Board, Panel, Section, Variable, q

CADVISOR = 'job="kubelet", metrics_path="/metrics/cadvisor", container!="", namespace=~"$namespace"'
EXPORTER = 'job="node-exporter"'
FOUND = "node_exporter runs"

BOARD = Board(
    "kubeglass-nodes",
    "Nodes and containers",
    "What containers use, what they asked for, and what the machine has.",
    (
        Section(
            "Containers",
            (
                Panel(
                    "CPU",
                    "Processor time by Pod, the ten largest.",
                    "percentunit",
                    q(
                        f"topk(10, sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{CADVISOR}}}[$__rate_interval])))",
                        "{{namespace}}/{{pod}}",
                    ),
                    stacked=True,
                ),
                Panel(
                    "Memory",
                    "Working set by Pod, the ten largest.",
                    "bytes",
                    q(
                        f"topk(10, sum by (namespace, pod) (container_memory_working_set_bytes{{{CADVISOR}}}))",
                        "{{namespace}}/{{pod}}",
                    ),
                    stacked=True,
                ),
                Panel(
                    "Reads and writes",
                    "Bytes to and from disk.",
                    "Bps",
                    (
                        q(f"sum(rate(container_fs_reads_bytes_total{{{CADVISOR}}}[$__rate_interval]))", "read")[0],
                        q(f"sum(rate(container_fs_writes_bytes_total{{{CADVISOR}}}[$__rate_interval]))", "written")[0],
                    ),
                ),
                Panel(
                    "Throttled",
                    "Share of periods in which a container ran into its CPU limit.",
                    "percentunit",
                    q(
                        f"sum by (namespace, pod) (rate(container_cpu_cfs_throttled_periods_total{{{CADVISOR}}}[$__rate_interval])) / sum by (namespace, pod) (rate(container_cpu_cfs_periods_total{{{CADVISOR}}}[$__rate_interval]))",
                        "{{namespace}}/{{pod}}",
                    ),
                    conditional="CPU limits are enforced by cgroups",
                ),
                Panel(
                    "CPU asked for",
                    "Requests of Pods as a share of what each node can give.",
                    "percentunit",
                    q(
                        'sum by (node) (kube_pod_container_resource_requests{resource="cpu"}) / sum by (node) (kube_node_status_allocatable{resource="cpu"})',
                        "{{node}}",
                    ),
                ),
                Panel(
                    "Memory asked for",
                    "Requests of Pods as a share of what each node can give.",
                    "percentunit",
                    q(
                        'sum by (node) (kube_pod_container_resource_requests{resource="memory"}) / sum by (node) (kube_node_status_allocatable{resource="memory"})',
                        "{{node}}",
                    ),
                ),
            ),
        ),
        Section(
            "Nodes",
            (
                Panel(
                    "Conditions",
                    "Conditions that are true.",
                    "none",
                    q('sum by (condition) (kube_node_status_condition{status="true"})', "{{condition}}"),
                    runbook="docs/runbooks/nodes.md#nodeunderpressure",
                ),
                Panel(
                    "Pods of capacity",
                    "Pods on a node as a share of what it can run.",
                    "percentunit",
                    q(
                        'node:kube_pod_info:count / on (node) max by (node) (kube_node_status_capacity{resource="pods"})',
                        "{{node}}",
                    ),
                    runbook="docs/runbooks/nodes.md#nodepodsnearlyfull",
                ),
                Panel(
                    "Taints",
                    "Taints by key.",
                    "none",
                    q("sum by (key) (kube_node_spec_taint)", "{{key}}"),
                    conditional="a node is tainted",
                    runbook="docs/runbooks/nodes.md#nodeunreachable",
                ),
            ),
        ),
        Section(
            "Machine",
            (
                Panel(
                    "CPU",
                    "Processor time by mode.",
                    "percentunit",
                    q(
                        f'sum by (mode) (rate(node_cpu_seconds_total{{{EXPORTER}, mode!="idle"}}[$__rate_interval]))',
                        "{{mode}}",
                    ),
                    stacked=True,
                    conditional=FOUND,
                ),
                Panel(
                    "Memory",
                    "Memory that programs can still have.",
                    "bytes",
                    q(f"min by (instance) (node_memory_MemAvailable_bytes{{{EXPORTER}}})", "{{instance}}"),
                    conditional=FOUND,
                ),
                Panel(
                    "Filesystems",
                    "Free share of each filesystem.",
                    "percentunit",
                    q(
                        f'min by (mountpoint) (node_filesystem_avail_bytes{{{EXPORTER}, fstype!=""}} / node_filesystem_size_bytes{{{EXPORTER}, fstype!=""}})',
                        "{{mountpoint}}",
                    ),
                    conditional=FOUND,
                ),
            ),
        ),
    ),
    (Variable("namespace", "kube_namespace_status_phase", "namespace"),),
)
