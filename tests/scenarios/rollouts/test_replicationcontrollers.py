"""ReplicationControllers against a real API server."""

from __future__ import annotations

from kubeglass.components.api.kinds import EVENT, POD, REPLICATION_CONTROLLER

from ..conftest import ControlPlane


async def test_as_many_pods_as_wanted(plane: ControlPlane) -> None:
    """Pods are made, counted, replaced and taken away; the Event names the controller as upstream does."""
    await plane.kubelets.add_node("node-1")
    body = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": "old", "namespace": "default"},
        "spec": {
            "replicas": 3,
            "selector": {"app": "old"},
            "template": {
                "metadata": {"labels": {"app": "old"}},
                "spec": {"containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 0},
            },
        },
    }
    await plane.client.create(REPLICATION_CONTROLLER, body, "default")
    await plane.has(REPLICATION_CONTROLLER, "old", lambda obj: obj["status"].get("readyReplicas") == 3)
    (first, *_) = await plane.objects(POD)
    (owner,) = first["metadata"]["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"], owner["controller"]) == ("v1", "ReplicationController", True)
    await plane.client.delete(POD, first["metadata"]["name"], "default")

    async def replaced() -> bool:
        names = [pod["metadata"]["name"] for pod in await plane.objects(POD)]
        return len(names) == 3 and first["metadata"]["name"] not in names

    await plane.eventually(replaced)
    await plane.client.patch(REPLICATION_CONTROLLER, "old", {"spec": {"replicas": 1}}, "default")
    await plane.has(REPLICATION_CONTROLLER, "old", lambda obj: obj["status"].get("replicas") == 1)

    async def said() -> bool:
        found = await plane.objects(EVENT)
        sources = {e["source"]["component"] for e in found if e["reason"] == "SuccessfulCreate"}
        return sources == {"replication-controller"}

    await plane.eventually(said)
