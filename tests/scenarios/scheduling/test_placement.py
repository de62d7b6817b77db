"""Placement against a real API server: why a Pod waits, what wakes it, who makes room, and what a dead node does."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.kinds import EVENT, NODE, POD, PRIORITY_CLASS
from kubeglass.components.controllers.controllers import default_options
from kubeglass.components.controllers.nodelifecycle import Timing

from ..conftest import ControlPlane, control_plane


def pod(name: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}],
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }


def condition(obj: dict[str, Any], type: str) -> dict[str, Any]:
    return next((found for found in obj["status"].get("conditions", ()) if found["type"] == type), {})


async def said(plane: ControlPlane, reason: str, about: str) -> list[str]:
    found = []
    for event in await plane.client.list(EVENT) and (await plane.client.list(EVENT)).items:
        if event["reason"] == reason and event["involvedObject"]["name"] == about:
            found.append(event["message"])
    return found


NO_ROOM = (
    "0/2 nodes are available: 2 Insufficient cpu. "
    "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
)


async def test_an_unschedulable_pod_says_why_and_is_woken(plane: ControlPlane) -> None:
    """The condition and the Event carry upstream's sentence; a new node ends the wait."""
    for name in ("node-1", "node-2"):
        await plane.kubelets.add_node(name, cpu="2")
        await plane.client.create(POD, pod(f"busy-{name}", "1500m", nodeName=name), "default")
    for name in ("node-1", "node-2"):
        await plane.has(POD, f"busy-{name}", lambda obj: obj["status"]["phase"] == "Running")
    await plane.client.create(POD, pod("waits"), "default")
    await plane.has(POD, "waits", lambda obj: condition(obj, "PodScheduled").get("message") == NO_ROOM)
    waiting = await plane.client.get(POD, "waits", "default")
    scheduled = condition(waiting, "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")

    async def event_written() -> bool:
        return NO_ROOM in await said(plane, "FailedScheduling", "waits")

    await plane.eventually(event_written)
    metrics = plane.scheduler_telemetry.metrics
    assert metrics.value("scheduler_pending_pods", queue="unschedulable") == 1
    assert metrics.value("scheduler_unschedulable_pods", plugin="NodeResourcesFit", profile="default-scheduler") == 1

    await plane.kubelets.add_node("node-3", cpu="2")
    await plane.has(POD, "waits", lambda obj: obj["spec"].get("nodeName") == "node-3")

    async def assigned() -> bool:
        return "Successfully assigned default/waits to node-3" in await said(plane, "Scheduled", "waits")

    await plane.eventually(assigned)
    await plane.has(POD, "waits", lambda obj: condition(obj, "PodScheduled").get("status") == "True")
    assert metrics.value("scheduler_pending_pods", queue="unschedulable") == 0
    assert (
        metrics.value("scheduler_schedule_attempts_total", result="scheduled", profile="default-scheduler") or 0
    ) >= 1


async def test_preemption(plane: ControlPlane) -> None:
    """A Pod of a higher class takes the place of a lower one, which is told why."""
    await plane.kubelets.add_node("node-1", cpu="1")
    high = {
        "apiVersion": PRIORITY_CLASS.api_version,
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 1000,
    }
    await plane.client.create(PRIORITY_CLASS, high)
    await plane.client.create(POD, pod("low"), "default")
    await plane.has(POD, "low", lambda obj: obj["status"]["phase"] == "Running")
    await plane.client.create(POD, pod("vip", priorityClassName="high"), "default")
    await plane.has(POD, "vip", lambda obj: obj["spec"].get("nodeName") == "node-1")

    async def told() -> bool:
        return any(text.startswith("Preempted by pod ") for text in await said(plane, "Preempted", "low"))

    await plane.eventually(told)
    assert plane.scheduler_telemetry.metrics.value("scheduler_preemption_victims_count") == 1


async def test_a_silent_node_loses_its_pods() -> None:
    """A node that is not heard of becomes Unknown and tainted, and its Pods are deleted when their patience ends."""
    timing = Timing(monitor_period_seconds=0.1, monitor_grace_period_seconds=0.4)
    async with control_plane(default_options(node_timing=timing)) as plane:
        await plane.kubelets.add_node("node-1")
        patience = [
            {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
            for why in ("not-ready", "unreachable")
        ]
        await plane.client.create(POD, pod("app", tolerations=patience), "default")
        await plane.has(POD, "app", lambda obj: obj["status"]["phase"] == "Running")
        plane.kubelets.silent.add("node-1")
        await plane.kubelets.add_node("node-2")

        def unknown(obj: dict[str, Any]) -> bool:
            taints = {(t["key"], t["effect"]) for t in obj.get("spec", {}).get("taints", ())}
            ready = condition(obj, "Ready")
            return (
                ready["status"] == "Unknown"
                and ready["reason"] == "NodeStatusUnknown"
                and ("node.kubernetes.io/unreachable", "NoSchedule") in taints
            )

        async def beat() -> bool:
            from kubeglass.components.machinery import clock

            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.now_micro()}
            patch = {"status": {"conditions": [ready]}}
            await plane.client.patch(NODE, "node-2", patch, patch_type="strategic", subresource="status")
            try:
                deleting = (await plane.client.get(POD, "app", "default"))["metadata"].get("deletionTimestamp")
            except Exception:
                deleting = "gone"
            node = await plane.client.get(NODE, "node-1")
            return unknown(node) and bool(deleting)

        await plane.eventually(beat)
        node = await plane.client.get(NODE, "node-1")
        assert ("node.kubernetes.io/unreachable", "NoExecute") in {
            (t["key"], t["effect"]) for t in node["spec"]["taints"]
        }
        metrics = plane.manager_telemetry.metrics
        assert metrics.value("taint_eviction_controller_pod_deletions_total") == 1


async def test_a_hopeless_pod_is_left_alone(plane: ControlPlane) -> None:
    """A Pod larger than every node is not tried again, however many small Pods come and go."""
    await plane.kubelets.add_node("node-1")
    huge = _pod("huge", cpu="64")
    await plane.client.create(POD, huge, "default")
    await plane.has(POD, "huge", lambda obj: "Insufficient cpu" in obj["status"]["conditions"][0]["message"])
    metrics = plane.scheduler_telemetry.metrics
    name, profile = "scheduler_schedule_attempts_total", "default-scheduler"
    tried = metrics.value(name, result="unschedulable", profile=profile)
    for index in range(4):
        await plane.client.create(POD, _pod(f"small-{index}", cpu="100m"), "default")
        await plane.has(POD, f"small-{index}", lambda obj: obj["status"].get("phase") == "Running")
        await plane.client.delete(POD, f"small-{index}", "default", grace_period_seconds=0)
    await plane.eventually(lambda: _only(plane, "huge"))
    assert metrics.value(name, result="unschedulable", profile=profile) == tried
    assert metrics.value(name, result="scheduled", profile=profile) == 4


def _pod(name: str, cpu: str) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


async def _only(plane: ControlPlane, name: str) -> bool:
    return [pod["metadata"]["name"] for pod in await plane.objects(POD)] == [name]
