"""Controllers and their work queues."""

from ..panels import Board, Panel, Section, Variable, q, quantile, rate, total

WHERE = 'job=~"apiserver|kube-controller-manager|kube-scheduler|kubelet", name=~"$queue"'
JOB = 'job="kube-controller-manager"'

BOARD = Board(
    "kubeglass-controllers",
    "Controllers and work queues",
    "Does every controller keep up with what changes?",
    (
        Section(
            "Queues",
            (
                Panel(
                    "Depth",
                    "Objects that wait for a worker.",
                    "none",
                    q(total("workqueue_depth", "name", WHERE), "{{name}}"),
                    runbook="docs/runbooks/controlplane.md#workqueueslow",
                ),
                Panel(
                    "Adds",
                    "Objects put into a queue.",
                    "ops",
                    q(rate("workqueue_adds_total", "name", WHERE), "{{name}}"),
                ),
                Panel(
                    "Retries",
                    "Objects that come back after a failure.",
                    "ops",
                    q(rate("workqueue_retries_total", "name", WHERE), "{{name}}"),
                ),
                Panel(
                    "Wait",
                    "99th percentile of the time in the queue.",
                    "s",
                    q(quantile(0.99, "workqueue_queue_duration_seconds", "name", WHERE), "{{name}}"),
                    runbook="docs/runbooks/controlplane.md#workqueueslow",
                ),
                Panel(
                    "Work",
                    "99th percentile of the time a worker takes.",
                    "s",
                    q(quantile(0.99, "workqueue_work_duration_seconds", "name", WHERE), "{{name}}"),
                ),
                Panel(
                    "Busy for",
                    "How long the longest running worker has been at its object.",
                    "s",
                    q(f"max by (name) (workqueue_longest_running_processor_seconds{{{WHERE}}})", "{{name}}"),
                    runbook="docs/runbooks/controlplane.md#workqueuestuck",
                ),
            ),
        ),
        Section(
            "Manager",
            (
                Panel(
                    "Controllers",
                    "Controllers that run.",
                    "none",
                    q(total("running_managed_controllers", "name", JOB), "{{name}}"),
                    stacked=True,
                ),
                Panel(
                    "API calls",
                    "Requests of the controller manager by status.",
                    "reqps",
                    q(rate("rest_client_requests_total", "code, method", JOB), "{{method}} {{code}}"),
                    runbook="docs/runbooks/controlplane.md#apiunreachable",
                ),
                Panel(
                    "API latency",
                    "99th percentile of its requests.",
                    "s",
                    q(quantile(0.99, "rest_client_request_duration_seconds", "verb", JOB), "{{verb}}"),
                ),
            ),
        ),
        Section(
            "Workloads",
            (
                Panel(
                    "Deployments",
                    "Replicas asked for that are not available.",
                    "none",
                    q(
                        "sum by (namespace, deployment) (kube_deployment_spec_replicas - kube_deployment_status_replicas_available)",
                        "{{namespace}}/{{deployment}}",
                    ),
                    conditional="there is a Deployment",
                    runbook="docs/runbooks/workloads.md#deploymentreplicasmissing",
                ),
                Panel(
                    "StatefulSets",
                    "Replicas asked for that are not ready.",
                    "none",
                    q(
                        "sum by (namespace, statefulset) (kube_statefulset_replicas - kube_statefulset_status_replicas_ready)",
                        "{{namespace}}/{{statefulset}}",
                    ),
                    conditional="there is a StatefulSet",
                    runbook="docs/runbooks/workloads.md#statefulsetreplicasmissing",
                ),
                Panel(
                    "Jobs",
                    "Pods of Jobs by how they are.",
                    "none",
                    (
                        q("sum(kube_job_status_active)", "active")[0],
                        q("sum(kube_job_status_succeeded)", "succeeded")[0],
                        q("sum(kube_job_status_failed)", "failed")[0],
                    ),
                    conditional="there is a Job",
                    runbook="docs/runbooks/workloads.md#jobfailed",
                ),
            ),
        ),
    ),
    (Variable("queue", "workqueue_depth", "name"),),
)
