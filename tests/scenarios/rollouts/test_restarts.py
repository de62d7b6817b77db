"""Controllers and scheduler that die in the middle of their work, and nodes that die at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kubeglass.components.api.kinds import DEPLOYMENT, NODE, POD
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.controllers.controllers import ControllerManager, default_options
from kubeglass.components.controllers.nodelifecycle import Timing
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.process import start
from kubeglass.components.scheduler.scheduler import Scheduler

from ..conftest import ControlPlane, Kubelets, control_plane
from .test_control_plane import deployment


async def test_whoever_comes_after_a_kill_finishes_the_work() -> None:
    """Manager and scheduler are cut off at different moments of a roll-out; their successors neither lose a Pod nor
    make one too many."""
    async with running() as server, asyncio.TaskGroup() as group:
        client = server.client()
        kubelets = Kubelets(client)
        plane = ControlPlane(client, kubelets, quiet_telemetry(), quiet_telemetry())
        nodes = group.create_task(kubelets.run())
        first = True
        for cut_after_seconds in (0.02, 0.1, 0.25, 0.5, None):
            manager = ControllerManager(client, quiet_telemetry(), default_options())
            scheduler = Scheduler(client, quiet_telemetry(), seed=1)
            tasks = [await start(group, manager.run, "manager"), await start(group, scheduler.run, "scheduler")]
            if first:
                await kubelets.add_node("node-1")
                await client.create(DEPLOYMENT, deployment(12), "default")
                first = False
            if cut_after_seconds is None:
                break
            await asyncio.sleep(cut_after_seconds)  # where in its work the cut meets it does not matter
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            image = [{"name": "c", "image": f"nginx:{cut_after_seconds}"}]
            await client.patch(DEPLOYMENT, "web", {"spec": {"template": {"spec": {"containers": image}}}}, "default")
        await plane.has(
            DEPLOYMENT,
            "web",
            lambda obj: (
                obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
                and obj["status"].get("updatedReplicas") == obj["status"].get("availableReplicas") == 12
                and obj["status"].get("replicas") == 12
            ),
        )
        images = {pod["spec"]["containers"][0]["image"] for pod in await plane.objects(POD)}
        assert images == {"nginx:0.5"} and len(await plane.objects(POD)) == 12
        for task in (*tasks, nodes):
            task.cancel()


async def test_a_dead_node_loses_its_pods() -> None:
    """A node that falls silent is tainted after the grace period; its Pods are deleted when their toleration ends,
    and others take their place on a node that lives."""
    quick = replace(Timing(), monitor_period_seconds=0.2, monitor_grace_period_seconds=3.0)
    async with control_plane(default_options(node_timing=quick)) as plane, asyncio.TaskGroup() as group:
        await plane.kubelets.add_node("node-1")
        body = deployment(2)
        toleration = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        body["spec"]["template"]["spec"]["tolerations"] = [
            {**toleration, "key": f"node.kubernetes.io/{key}"} for key in ("not-ready", "unreachable")
        ]
        await plane.client.create(DEPLOYMENT, body, "default")
        await plane.has(DEPLOYMENT, "web", lambda obj: obj["status"].get("availableReplicas") == 2)
        await plane.kubelets.add_node("node-2")
        heart = group.create_task(_beat(plane, "node-2"))
        plane.kubelets.silent.add("node-1")
        key = "node.kubernetes.io/unreachable"
        await plane.has(
            NODE, "node-1", lambda obj: (key, "NoExecute") in [(t["key"], t["effect"]) for t in obj["spec"]["taints"]]
        )

        async def moved() -> bool:
            pods = await plane.objects(POD)
            going = {pod["spec"].get("nodeName") for pod in pods if pod["metadata"].get("deletionTimestamp")}
            living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
            return going == {"node-1"} and [pod["spec"].get("nodeName") for pod in living] == ["node-2"] * 2

        await plane.eventually(moved, "the dead node's Pods are being deleted, and two others run on the living node")
        heart.cancel()


async def _beat(plane: ControlPlane, node: str) -> None:
    """What a living kubelet does: renew its Ready condition."""
    while True:
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.now_rfc3339()}
        patch = {"status": {"conditions": [ready]}}
        await plane.client.patch(NODE, node, patch, patch_type="strategic", subresource="status")
        await asyncio.sleep(0.5)
