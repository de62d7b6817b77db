"""Each metric of scheduler and controllers moves at its moment: Pods are placed, refused, preempted, and end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.scenarios.conftest import ControlPlane, control_plane
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api.kinds import CRON_JOB, JOB, NODE, POD, PRIORITY_CLASS, SERVICE
from kubeglass.components.controllers.controllers import default_options
from kubeglass.components.controllers.nodelifecycle import Timing
from kubeglass.components.machinery import clock

START = """
running_managed_controllers{name="deployment-controller",manager="kube-controller-manager"}  =1
running_managed_controllers{name="job-controller",manager="kube-controller-manager"}         =1
"""

SCHEDULED = """
scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"}                          +1
scheduler_scheduling_attempt_duration_seconds_count{result="scheduled",profile="default-scheduler"}        +1
scheduler_scheduling_algorithm_duration_seconds_count                                                      +1
scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"}                                          +1
scheduler_pod_scheduling_attempts_count                                                                    +1
scheduler_pod_scheduling_attempts_sum                                                                      +1
scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",status="Success"}      +1
scheduler_framework_extension_point_duration_seconds_count{extension_point="PreFilter",status="Success"}   +1
scheduler_framework_extension_point_duration_seconds_count{extension_point="Bind",status="Success"}        +1
scheduler_plugin_evaluation_total{plugin="NodeResourcesFit",extension_point="Filter"}                      +1
scheduler_queue_incoming_pods_total{queue="active",event="UnschedulablePodAdd"}                            +1
scheduler_async_api_call_execution_total{call_type="pod_binding",result="success"}                         +1
scheduler_async_api_call_execution_duration_seconds_count{call_type="pod_binding",result="success"}        +1
scheduler_pending_async_api_calls{call_type="pod_binding"}                                                 =0
scheduler_pending_pods                                                                                     =0
scheduler_goroutines{operation="binding"}                                                                  =0
scheduler_cache_size{type="nodes"}                                                                         =1
scheduler_cache_size{type="pods"}                                                                          =2
scheduler_cache_size{type="assumed_pods"}                                                                  =0
scheduler_event_handling_duration_seconds_count{event="AssignedPodAdd"}                                    +1
"""

REFUSED = """
scheduler_schedule_attempts_total{result="unschedulable",profile="default-scheduler"}                      +1
scheduler_scheduling_attempt_duration_seconds_count{result="unschedulable"}                                +1
scheduler_scheduling_algorithm_duration_seconds_count                                                      +1
scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",status="Unschedulable"} +1
scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"}                        =1
scheduler_pending_pods{queue="unschedulable"}                                                              =1
scheduler_queue_incoming_pods_total{queue="unschedulable",event="ScheduleAttemptFailure"}                  +1
scheduler_preemption_attempts_total                                                                        +1
scheduler_async_api_call_execution_total{call_type="pod_status_patch",result="success"}                    +1
scheduler_schedule_attempts_total{result="scheduled"}                                                      +0
"""

PREEMPTED = """
scheduler_preemption_attempts_total                                                                        +
scheduler_preemption_victims_count                                                                         +1
scheduler_preemption_victims_sum                                                                           +1
scheduler_schedule_attempts_total{result="scheduled"}                                                      +1
scheduler_queue_incoming_pods_total{event="AssignedPodDelete"}                                             +
"""

JOB_SUCCEEDS = """
job_controller_jobs_finished_total{completion_mode="NonIndexed",result="succeeded",reason="CompletionsReached"} +1
job_controller_job_pods_finished_total{completion_mode="NonIndexed",result="succeeded"}                    +1
job_controller_job_syncs_total{completion_mode="NonIndexed",result="success",action="pods_created"}        +1
job_controller_job_syncs_total{completion_mode="NonIndexed",result="success",action="tracking"}            +
job_controller_job_sync_duration_seconds_count{completion_mode="NonIndexed",action="pods_created"}         +1
job_controller_job_pods_creation_total{reason="new",status="succeeded"}                                    +1
job_controller_terminated_pods_tracking_finalizer_total{event="add"}                                       +1
job_controller_terminated_pods_tracking_finalizer_total{event="delete"}                                    +1
workqueue_adds_total{name="job"}                                                                           +
workqueue_queue_duration_seconds_count{name="job"}                                                         +
workqueue_work_duration_seconds_count{name="job"}                                                          +
workqueue_depth{name="job"}                                                                                =0
"""

JOB_FAILS = """
job_controller_jobs_finished_total{completion_mode="Indexed",result="failed",reason="BackoffLimitExceeded"} +1
job_controller_job_pods_finished_total{completion_mode="Indexed",result="failed"}                          +1
"""

ENDPOINTS = """
endpoint_slice_controller_changes{operation="create"}                                                      +
endpoint_slice_controller_syncs{result="success"}                                                          +
endpoint_slice_controller_endpoints_added_per_sync_sum                                                     +1
endpoint_slice_controller_num_endpoint_slices                                                              =1
endpoint_slice_controller_desired_endpoint_slices                                                          =1
endpoint_slice_controller_endpoints_desired                                                                =1
endpoint_slice_controller_endpointslices_changed_per_sync_count{topology="Disabled"}                       +
endpoint_slice_controller_services_count_by_traffic_distribution{traffic_distribution="PreferClose"}       =1
"""

NODE_DIES = """
node_collector_evictions_total                                                                             +1
node_collector_unhealthy_nodes_in_zone                                                                     =1
node_collector_zone_health                                                                                 =50
node_collector_zone_size                                                                                   =2
"""


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    options = default_options(node_timing=Timing(0.2, 2.0, 2.0, eviction_rate=10.0))
    async with control_plane(options) as found:
        yield found


def _pod(name: str, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def _job(name: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    body = {"template": template, **spec}
    return {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": name}, "spec": body}


def _scheduler(plane: ControlPlane) -> Moments:
    return Moments(plane.scheduler_telemetry.metrics)


async def _with_node(plane: ControlPlane) -> Moments:
    """A scheduler that knows one node as ready, through a Pod that it placed there."""
    await plane.kubelets.add_node("one")
    await plane.client.create(POD, _pod("first"), "default")
    await plane.has(POD, "first", lambda pod: pod["status"]["phase"] == "Running")
    await _scheduler(plane).until_moved('scheduler_cache_size{type="assumed_pods"} =0')
    return _scheduler(plane)


def _manager(plane: ControlPlane) -> Moments:
    return Moments(plane.manager_telemetry.metrics)


async def _end(plane: ControlPlane, phase: str) -> None:
    """All Pods of the namespace end."""
    await plane.eventually(lambda: _any_running(plane), "a Pod runs")
    for pod in await plane.objects(POD):
        name = pod["metadata"]["name"]
        await plane.client.patch(POD, name, {"status": {"phase": phase}}, "default", subresource="status")


async def _any_running(plane: ControlPlane) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in await plane.objects(POD))


async def test_controllers_run(plane: ControlPlane) -> None:
    """Each controller that was started says so."""
    await Moments(plane.manager_telemetry.metrics).until_moved(START)


async def test_a_pod_is_scheduled(plane: ControlPlane) -> None:
    """One attempt from queue to binding."""
    moments = await _with_node(plane)
    await plane.client.create(POD, _pod("fits"), "default")
    await moments.until_moved(SCHEDULED)


async def test_a_pod_fits_nowhere(plane: ControlPlane) -> None:
    """One attempt that ends in the unschedulable queue, with the plugin that said no."""
    moments = await _with_node(plane)
    await plane.client.create(POD, _pod("huge", "100"), "default")
    await moments.until_moved(REFUSED)


async def test_a_pod_makes_room(plane: ControlPlane) -> None:
    """A Pod of higher priority takes the place of one victim."""
    await plane.kubelets.add_node("one", cpu="1")
    await plane.client.create(
        PRIORITY_CLASS,
        {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": "high"}, "value": 1000},
    )
    await plane.client.create(POD, _pod("low", "800m"), "default")
    await plane.has(POD, "low", lambda pod: pod["status"]["phase"] == "Running")
    moments = _scheduler(plane)
    await plane.client.create(POD, _pod("high", "800m", priorityClassName="high"), "default")
    await moments.until_moved(PREEMPTED)


@pytest.mark.parametrize(
    ("phase", "spec", "expected"),
    [
        ("Succeeded", {}, JOB_SUCCEEDS),
        ("Failed", {"backoffLimit": 0, "completionMode": "Indexed", "completions": 1}, JOB_FAILS),
    ],
    ids=["succeeds", "fails"],
)
async def test_a_job_ends(plane: ControlPlane, phase: str, spec: dict[str, Any], expected: str) -> None:
    """Syncs, Pods and the end, each with mode, result and reason."""
    await plane.kubelets.add_node("one")
    moments = _manager(plane)
    await plane.client.create(JOB, _job("work", **spec), "default")
    await _end(plane, phase)
    await moments.until_moved(expected)


async def test_somebody_elses_job_is_left_alone(plane: ControlPlane) -> None:
    """A Job with another manager is counted once and not synced."""
    moments = _manager(plane)
    await plane.client.create(JOB, _job("theirs", managedBy="example.com/other"), "default")
    await moments.until_moved(
        'job_controller_jobs_by_external_controller_total{controller_name="example.com/other"} +1'
    )
    moments.assert_moved("job_controller_job_syncs_total +0")


async def test_a_cron_job_starts_late(plane: ControlPlane) -> None:
    """The Job of a missed time is created now; the skew is how late that is."""
    template = {"spec": _job("x")["spec"]}
    spec = {"schedule": "* * * * *", "jobTemplate": template}
    moments = _manager(plane)
    cron = {
        "kind": "CronJob",
        "apiVersion": "batch/v1",
        "metadata": {"name": "tick"},
        "spec": {**spec, "suspend": True},
    }
    await plane.client.create(CRON_JOB, cron, "default")
    missed = {"status": {"lastScheduleTime": clock.rfc3339(clock.now() - 90)}}
    await plane.client.patch(CRON_JOB, "tick", missed, "default", subresource="status")
    await plane.client.patch(CRON_JOB, "tick", {"spec": {"suspend": False}}, "default")
    await moments.until_moved(
        """
        cronjob_controller_job_creation_skew_duration_seconds_count +1
        cronjob_controller_job_creation_skew_duration_seconds_sum   +
        """
    )


async def test_endpoints_change(plane: ControlPlane) -> None:
    """A Service gets its slice, then a Pod gets into it."""
    await plane.kubelets.add_node("one")
    moments = _manager(plane)
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}], "trafficDistribution": "PreferClose"}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": spec}
    await plane.client.create(SERVICE, service, "default")
    pod = _pod("web")
    pod["metadata"]["labels"] = {"app": "web"}
    await plane.client.create(POD, pod, "default")
    await moments.until_moved(ENDPOINTS)


async def test_a_node_dies(plane: ControlPlane) -> None:
    """One node of two stops renewing: unhealthy, tainted once, and its zone half as healthy."""
    await plane.kubelets.add_node("alive")
    await plane.kubelets.add_node("dead")
    moments = _manager(plane)

    async def stay_alive() -> bool:
        stamp = {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.now_rfc3339()}
        patch = {"status": {"conditions": [stamp]}}
        await plane.client.patch(NODE, "alive", patch, patch_type="strategic", subresource="status")
        dead = await plane.client.get(NODE, "dead")
        return any(taint["effect"] == "NoExecute" for taint in dead["spec"].get("taints") or ())

    await plane.eventually(stay_alive, "the dead node is tainted")
    await moments.until_moved(NODE_DIES, 3)
