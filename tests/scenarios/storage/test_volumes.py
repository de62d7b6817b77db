"""Claims and volumes against a real API server, controllers and scheduler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api.kinds import EVENT, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from kubeglass.components.controllers.controllers import default_options

from ..conftest import ControlPlane, control_plane

HOSTNAME = "kubernetes.io/hostname"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with control_plane(default_options(local_path_root=str(tmp_path))) as found:
        await found.has(STORAGE_CLASS, "standard")
        yield found


def claim(name: str = "data", **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"}}
    return {**body, "spec": wanted}


def pod(name: str, claim_name: str = "data") -> dict[str, Any]:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    spec = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def disk(name: str, size: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/tmp/{name}"},
            "persistentVolumeReclaimPolicy": "Retain",
            **spec,
        },
    }


def phase(wanted: str) -> Any:
    return lambda obj: obj.get("status", {}).get("phase") == wanted


async def events(plane: ControlPlane, name: str) -> list[tuple[str, str, str]]:
    """(source, reason, message) of what was said about an object."""
    found = await plane.objects(EVENT)
    return [(e["source"]["component"], e["reason"], e["message"]) for e in found if e["involvedObject"]["name"] == name]


async def test_a_claim_gets_a_directory_on_its_pods_node(plane: ControlPlane, tmp_path: Path) -> None:
    """The default class waits for the Pod, makes the volume where the Pod goes, and deletes it with the claim."""
    await plane.kubelets.add_node("node-1")
    await plane.client.create(PERSISTENT_VOLUME_CLAIM, claim(), "default")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", phase("Pending"))
    made = await plane.client.get(PERSISTENT_VOLUME_CLAIM, "data", "default")
    assert made["spec"]["storageClassName"] == "standard"

    await plane.client.create(POD, pod("db"), "default")
    await plane.has(POD, "db", lambda obj: obj["spec"].get("nodeName") == "node-1")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", phase("Bound"))
    name = f"pvc-{made['metadata']['uid']}"
    await plane.has(PERSISTENT_VOLUME, name, phase("Bound"))
    volume = await plane.client.get(PERSISTENT_VOLUME, name)
    path = tmp_path / "node-1" / "volumes" / name
    assert volume["spec"]["hostPath"] == {"path": str(path), "type": "DirectoryOrCreate"}
    assert path.is_dir()
    (terms,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms == {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": ["node-1"]}]}
    bound = await plane.client.get(PERSISTENT_VOLUME_CLAIM, "data", "default")
    assert bound["status"]["capacity"] == {"storage": "1Gi"} and bound["status"]["accessModes"] == ["ReadWriteOnce"]

    async def told() -> bool:
        said = await events(plane, "data")
        first = ("persistentvolume-controller", "WaitForFirstConsumer")
        return (*first, "waiting for first consumer to be created before binding") in said and (
            "kubeglass.io/local-path",
            "ProvisioningSucceeded",
            f"Successfully provisioned volume {name}",
        ) in said

    await plane.eventually(told)
    await plane.client.delete(PERSISTENT_VOLUME_CLAIM, "data", "default")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", lambda obj: obj["metadata"].get("deletionTimestamp"))
    assert path.is_dir()  # the Pod still uses it
    await plane.client.delete(POD, "db", "default")
    await plane.gone(PERSISTENT_VOLUME_CLAIM)
    await plane.gone(PERSISTENT_VOLUME)
    assert not path.exists()


async def test_the_smallest_volume_that_fits(plane: ControlPlane) -> None:
    """A claim without a class takes the smallest volume that is large enough; released volumes are kept."""
    for name, size in (("small", "500Mi"), ("large", "10Gi"), ("fitting", "2Gi")):
        await plane.client.create(PERSISTENT_VOLUME, disk(name, size))
        await plane.has(PERSISTENT_VOLUME, name, phase("Available"))
    await plane.client.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName=""), "default")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", phase("Bound"))
    await plane.has(PERSISTENT_VOLUME, "fitting", phase("Bound"))
    metrics = plane.manager_telemetry.metrics
    assert metrics.value("pv_collector_bound_pv_count", storage_class="") == 1
    assert metrics.value("pv_collector_unbound_pv_count", storage_class="") == 2
    await plane.client.delete(PERSISTENT_VOLUME_CLAIM, "data", "default")
    await plane.has(PERSISTENT_VOLUME, "fitting", phase("Released"))


async def test_a_claim_for_which_there_is_nothing(plane: ControlPlane) -> None:
    """Without a class and without a volume a claim says so."""
    await plane.client.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName=""), "default")
    text = "no persistent volumes available for this claim and no storage class is set"

    async def told() -> bool:
        return ("persistentvolume-controller", "FailedBinding", text) in await events(plane, "data")

    await plane.eventually(told)


async def test_a_lost_volume(plane: ControlPlane) -> None:
    """A bound claim whose volume vanishes is Lost."""
    await plane.client.create(PERSISTENT_VOLUME, disk("only", "2Gi"))
    await plane.client.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName=""), "default")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", phase("Bound"))
    await plane.has(PERSISTENT_VOLUME, "only", lambda obj: obj["metadata"].get("finalizers"))
    await plane.client.delete(PERSISTENT_VOLUME, "only")
    await plane.client.patch(PERSISTENT_VOLUME, "only", {"metadata": {"finalizers": None}})
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", phase("Lost"))


async def test_a_ready_made_volume_that_waits_for_its_pod(plane: ControlPlane) -> None:
    """With a no-provisioner class the scheduler chooses the volume, and the Pod goes to the volume's node."""
    for node in ("node-1", "node-2"):
        await plane.kubelets.add_node(node)
    local = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "disks"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    await plane.client.create(STORAGE_CLASS, local)
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": ["node-2"]}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    await plane.client.create(PERSISTENT_VOLUME, disk("ssd", "2Gi", storageClassName="disks", nodeAffinity=affinity))
    await plane.client.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName="disks"), "default")
    await plane.client.create(POD, pod("db"), "default")
    await plane.has(POD, "db", lambda obj: obj["spec"].get("nodeName") == "node-2")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data", lambda obj: obj["spec"].get("volumeName") == "ssd")
