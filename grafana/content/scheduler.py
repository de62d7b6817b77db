"""The scheduler: what waits, how attempts end, where the time goes."""

from ..panels import Board, Panel, Section, percentiles, q, quantile, rate, total

JOB = 'job="kube-scheduler"'
TRIED = "a Pod is scheduled"

BOARD = Board(
    "kubeglass-scheduler",
    "Scheduler",
    "From a Pod without a node to a binding.",
    (
        Section(
            "Queue",
            (
                Panel(
                    "Pending Pods",
                    "Pods by queue: active, backoff, unschedulable, gated.",
                    "none",
                    q(total("scheduler_pending_pods", "queue", JOB), "{{queue}}"),
                    stacked=True,
                    runbook="docs/runbooks/controlplane.md#podsunschedulable",
                ),
                Panel(
                    "Incoming",
                    "Pods that enter a queue, and why.",
                    "ops",
                    q(rate("scheduler_queue_incoming_pods_total", "queue, event", JOB), "{{queue}} {{event}}"),
                    conditional=TRIED,
                ),
                Panel(
                    "Refused by",
                    "Pods that a plugin keeps from being scheduled.",
                    "none",
                    q(total("scheduler_unschedulable_pods", "plugin", JOB), "{{plugin}}"),
                    conditional="a Pod fits on no node",
                    runbook="docs/runbooks/controlplane.md#podsunschedulable",
                ),
            ),
        ),
        Section(
            "Attempts",
            (
                Panel(
                    "Results",
                    "Scheduling attempts by result.",
                    "ops",
                    q(rate("scheduler_schedule_attempts_total", "result", JOB), "{{result}}"),
                    stacked=True,
                    conditional=TRIED,
                ),
                Panel(
                    "Attempt",
                    "Time of one attempt.",
                    "s",
                    percentiles("scheduler_scheduling_attempt_duration_seconds", JOB),
                    conditional=TRIED,
                ),
                Panel(
                    "End to end",
                    "From the first attempt to bound, however many attempts it takes.",
                    "s",
                    percentiles("scheduler_pod_scheduling_sli_duration_seconds", JOB),
                    conditional=TRIED,
                ),
            ),
        ),
        Section(
            "Framework",
            (
                Panel(
                    "Extension points",
                    "99th percentile by extension point.",
                    "s",
                    q(
                        quantile(0.99, "scheduler_framework_extension_point_duration_seconds", "extension_point", JOB),
                        "{{extension_point}}",
                    ),
                    conditional=TRIED,
                ),
                Panel(
                    "Plugins",
                    "The ten slowest plugins, 99th percentile.",
                    "s",
                    q(
                        f"topk(10, {quantile(0.99, 'scheduler_plugin_execution_duration_seconds', 'plugin, extension_point', JOB)})",
                        "{{plugin}} {{extension_point}}",
                    ),
                    conditional=TRIED,
                ),
                Panel(
                    "Preemption",
                    "Attempts to make room by ending other Pods.",
                    "ops",
                    q(rate("scheduler_preemption_attempts_total", "", JOB), "attempts"),
                ),
                Panel(
                    "Cache",
                    "Nodes, Pods and assumed Pods that the scheduler knows.",
                    "none",
                    q(total("scheduler_cache_size", "type", JOB), "{{type}}"),
                ),
                Panel(
                    "API calls",
                    "Requests of the scheduler by status.",
                    "reqps",
                    q(rate("rest_client_requests_total", "code", JOB), "{{code}}"),
                ),
                Panel(
                    "Leader",
                    "1 while this instance holds the lease.",
                    "none",
                    q(total("leader_election_master_status", "name", JOB), "{{name}}"),
                    runbook="docs/runbooks/controlplane.md#leadermissing",
                ),
            ),
        ),
    ),
)
