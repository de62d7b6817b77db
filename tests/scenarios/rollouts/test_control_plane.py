"""A Deployment's whole life against a real API server: create, serve, roll, scale, undo, delete."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.kinds import DEPLOYMENT, ENDPOINT_SLICE, ENDPOINTS, EVENT, POD, REPLICA_SET, SERVICE

from ..conftest import ControlPlane

WEB = {"app": "web"}


def deployment(replicas: int, image: str = "nginx:1") -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": WEB},
            "template": {
                "metadata": {"labels": WEB},
                "spec": {
                    "containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 80}]}]
                },
            },
        },
    }


def service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": WEB, "ports": [{"port": 80, "targetPort": "http"}]},
    }


async def ready(plane: ControlPlane, replicas: int, revision: str) -> None:
    def rolled_out(obj: dict[str, Any]) -> bool:
        status = obj["status"]
        return bool(
            obj["metadata"]["annotations"].get("deployment.kubernetes.io/revision") == revision
            and status.get("observedGeneration") == obj["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == replicas
            and status.get("replicas", 0) == replicas
            and status.get("availableReplicas", 0) == replicas
        )

    await plane.has(DEPLOYMENT, "web", rolled_out)


async def test_a_deployments_life(plane: ControlPlane) -> None:
    """Three Pods spread over two nodes and serve; a new image rolls; scaling, undoing and deleting do what they say."""
    client = plane.client
    for name in ("node-1", "node-2"):
        await plane.kubelets.add_node(name)
    await client.create(SERVICE, service(), "default")
    await client.create(DEPLOYMENT, deployment(3), "default")
    await ready(plane, 3, "1")
    pods = await plane.objects(POD)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}

    addresses = {pod["status"]["podIP"] for pod in pods}
    await plane.has(ENDPOINTS, "web", lambda e: {a["ip"] for a in e["subsets"][0]["addresses"]} == addresses)

    async def sliced() -> bool:
        slices = await plane.objects(ENDPOINT_SLICE, selector="kubernetes.io/service-name=web")
        serving = {e["addresses"][0] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]}
        return serving == addresses and slices[0]["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]

    await plane.eventually(sliced)

    changed = deployment(3, "nginx:2")["spec"]
    await client.patch(DEPLOYMENT, "web", {"spec": {"template": changed["template"]}}, "default")
    await ready(plane, 3, "2")
    await client.patch(DEPLOYMENT, "web", {"spec": {"replicas": 5}}, "default")
    await ready(plane, 5, "2")
    original = deployment(5, "nginx:1")["spec"]["template"]
    await client.patch(DEPLOYMENT, "web", {"spec": {"template": original}}, "default")
    await ready(plane, 5, "3")
    sets = await plane.objects(REPLICA_SET)
    assert len(sets) == 2

    await client.delete(DEPLOYMENT, "web", "default", propagation_policy="Background")
    await plane.gone(REPLICA_SET)
    await plane.gone(POD)
    messages = {event["message"].replace(sets[0]["metadata"]["name"], "A") for event in await plane.objects(EVENT)}
    assert "Scaled up replica set A from 0 to 3" in messages or any(
        message.startswith("Scaled up replica set") for message in messages
    )
    assert any(message.startswith("Created pod: web-") for message in messages)
    assert any(message.startswith("Successfully assigned default/web-") for message in messages)


async def test_a_deleted_pod_comes_back(plane: ControlPlane) -> None:
    """Deleting a Pod of a ReplicaSet brings a new one."""
    await plane.kubelets.add_node("node-1")
    await plane.client.create(DEPLOYMENT, deployment(2), "default")
    await ready(plane, 2, "1")
    (victim, _) = await plane.objects(POD)
    await plane.client.delete(POD, victim["metadata"]["name"], "default")

    async def replaced() -> bool:
        uids = {pod["metadata"]["uid"] for pod in await plane.objects(POD)}
        return len(uids) == 2 and victim["metadata"]["uid"] not in uids

    await plane.eventually(replaced)


async def test_foreground_and_orphaning_deletion(plane: ControlPlane) -> None:
    """Foreground deletion takes the Pods first; orphaning deletion leaves the ReplicaSet and its Pods alone."""
    await plane.kubelets.add_node("node-1")
    await plane.client.create(DEPLOYMENT, deployment(2), "default")
    await ready(plane, 2, "1")
    await plane.client.delete(DEPLOYMENT, "web", "default", propagation_policy="Orphan")
    await plane.gone(DEPLOYMENT)
    (orphan,) = await plane.objects(REPLICA_SET)
    assert not orphan["metadata"].get("ownerReferences")
    assert len(await plane.objects(POD)) == 2
    await plane.client.delete(REPLICA_SET, orphan["metadata"]["name"], "default", propagation_policy="Foreground")
    await plane.gone(REPLICA_SET)
    await plane.gone(POD)
