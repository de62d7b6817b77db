"""Jobs, DaemonSets, StatefulSets and disruption budgets against a real API server."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.errors import NotFound
from kubeglass.components.api.kinds import (
    CONTROLLER_REVISION,
    DAEMON_SET,
    JOB,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    RESOURCE_QUOTA,
    STATEFUL_SET,
)

from ..conftest import ControlPlane

APP = {"app": "x"}


def template(image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": APP}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    api_version = "batch/v1" if kind == "Job" else "apps/v1"
    selector = {} if kind == "Job" else {"selector": {"matchLabels": APP}}
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    return {**body, "spec": {**selector, **spec}}


async def finish(plane: ControlPlane, name: str, phase: str) -> None:
    patch = {"status": {"phase": phase}}
    await plane.client.patch(POD, name, patch, "default", patch_type="strategic", subresource="status")


async def running(plane: ControlPlane) -> list[str]:
    return [p["metadata"]["name"] for p in await plane.objects(POD) if p["status"].get("phase") == "Running"]


def ended(obj: dict[str, Any], type: str) -> bool:
    return any(c["type"] == type and c["status"] == "True" for c in obj["status"].get("conditions", ()))


async def test_a_job_completes(plane: ControlPlane) -> None:
    """Two completions, one at a time: each end is counted once, the finalizers go, and the Job says it is complete."""
    await plane.kubelets.add_node("node-1")
    job = workload("Job", "sum", completions=2, template=template(restartPolicy="Never"))
    await plane.client.create(JOB, job, "default")
    found: list[str] = []

    async def one_runs() -> bool:
        found[:] = await running(plane)
        return len(found) == 1

    for done in range(2):
        await plane.eventually(one_runs)
        await finish(plane, found[0], "Succeeded")
        await plane.has(JOB, "sum", lambda obj, done=done: obj["status"].get("succeeded") == done + 1)
    await plane.has(JOB, "sum", lambda obj: ended(obj, "Complete") and obj["status"].get("completionTime"))
    pods = await plane.objects(POD)
    assert len(pods) == 2 and not any(pod["metadata"].get("finalizers") for pod in pods)
    job = await plane.client.get(JOB, "sum", "default")
    assert not job["status"].get("uncountedTerminatedPods") and not job["status"].get("active")
    labels = {"completion_mode": "NonIndexed", "result": "succeeded", "reason": "CompletionsReached"}

    async def counted() -> bool:
        return plane.manager_telemetry.metrics.value("job_controller_jobs_finished_total", **labels) == 1

    await plane.eventually(counted, "the end is counted once its status is written")


async def test_a_job_gives_up(plane: ControlPlane) -> None:
    """With backoffLimit 0 the first failure is the last."""
    await plane.kubelets.add_node("node-1")
    job = workload("Job", "bad", backoffLimit=0, template=template(restartPolicy="Never"))
    await plane.client.create(JOB, job, "default")
    found: list[str] = []

    async def runs() -> bool:
        found[:] = await running(plane)
        return bool(found)

    await plane.eventually(runs)
    await finish(plane, found[0], "Failed")

    def failed(obj: dict[str, Any]) -> bool:
        return any(
            c["type"] == "Failed"
            and c["reason"] == "BackoffLimitExceeded"
            and c["message"] == "Job has reached the specified backoff limit"
            for c in obj["status"].get("conditions", ())
        )

    await plane.has(JOB, "bad", failed)
    assert (await plane.client.get(JOB, "bad", "default"))["status"]["failed"] == 1


async def test_an_indexed_job(plane: ControlPlane) -> None:
    """Each index runs once; completed indexes are listed."""
    await plane.kubelets.add_node("node-1")
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    await plane.client.create(JOB, workload("Job", "idx", template=template(restartPolicy="Never"), **spec), "default")

    async def all_run() -> bool:
        return len(await running(plane)) == 3

    await plane.eventually(all_run)
    pods = await plane.objects(POD)
    by_index = {p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: p for p in pods}
    assert sorted(by_index) == ["0", "1", "2"]
    for index in ("0", "1"):
        await finish(plane, by_index[index]["metadata"]["name"], "Succeeded")
    await plane.has(JOB, "idx", lambda obj: obj["status"].get("completedIndexes") == "0,1")
    await finish(plane, by_index["2"]["metadata"]["name"], "Succeeded")
    await plane.has(JOB, "idx", lambda obj: ended(obj, "Complete"))


async def test_a_daemon_set_follows_the_nodes(plane: ControlPlane) -> None:
    """One Pod per node, also on new nodes, not on tainted ones; a new template rolls node by node."""
    for name in ("node-1", "node-2"):
        await plane.kubelets.add_node(name)
    await plane.client.create(DAEMON_SET, workload("DaemonSet", "agent", template=template()), "default")

    def on(*nodes: str, image: str = "nginx:1") -> Any:
        async def check() -> bool:
            pods = [p for p in await plane.objects(POD) if not p["metadata"].get("deletionTimestamp")]
            placed = sorted((p["spec"].get("nodeName", ""), p["spec"]["containers"][0]["image"]) for p in pods)
            return placed == [(node, image) for node in sorted(nodes)]

        return check

    await plane.eventually(on("node-1", "node-2"))
    await plane.kubelets.add_node("node-3")
    await plane.eventually(on("node-1", "node-2", "node-3"))
    await plane.has(DAEMON_SET, "agent", lambda obj: obj["status"].get("numberAvailable") == 3)
    taint = [{"key": "only", "value": "gpu", "effect": "NoExecute"}]
    await plane.client.patch(NODE, "node-3", {"spec": {"taints": taint}})
    await plane.eventually(on("node-1", "node-2"))
    await plane.client.patch(DAEMON_SET, "agent", {"spec": {"template": template("nginx:2")}}, "default")
    await plane.eventually(on("node-1", "node-2", image="nginx:2"))
    await plane.has(DAEMON_SET, "agent", lambda obj: obj["status"].get("updatedNumberScheduled") == 2)
    revisions = sorted(r["revision"] for r in await plane.objects(CONTROLLER_REVISION))
    assert revisions == [1, 2]
    await plane.client.delete(DAEMON_SET, "agent", "default")
    await plane.gone(POD)
    await plane.gone(CONTROLLER_REVISION)


async def test_a_stateful_set_keeps_its_order(plane: ControlPlane) -> None:
    """Pods come one after the other with their claims, go from the highest, and roll from the highest."""
    await plane.kubelets.add_node("node-1")
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {"replicas": 2, "serviceName": "db", "template": template()}
    await plane.client.create(STATEFUL_SET, workload("StatefulSet", "db", **spec), "default")
    await plane.has(STATEFUL_SET, "db", lambda obj: obj["status"].get("readyReplicas") == 2)
    pods = sorted(await plane.objects(POD), key=lambda pod: pod["metadata"]["name"])
    assert [p["metadata"]["name"] for p in pods] == ["db-0", "db-1"]
    assert pods[1]["spec"]["hostname"] == "db-1" and pods[1]["spec"]["subdomain"] == "db"
    assert pods[1]["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    await plane.client.patch(STATEFUL_SET, "db", {"spec": {"template": template("nginx:2")}}, "default")

    def rolled(obj: dict[str, Any]) -> bool:
        status = obj["status"]
        return bool(status.get("updatedReplicas") == 2 and status.get("currentRevision") == status["updateRevision"])

    await plane.has(STATEFUL_SET, "db", rolled)
    await plane.client.patch(STATEFUL_SET, "db", {"spec": {"replicas": 1}}, "default")

    async def only_the_first() -> bool:
        return [p["metadata"]["name"] for p in await plane.objects(POD)] == ["db-0"]

    await plane.eventually(only_the_first)
    claimed = workload(
        "StatefulSet", "disk", replicas=1, serviceName="disk", template=template(), volumeClaimTemplates=[claim]
    )
    claimed["spec"]["selector"] = {"matchLabels": {"app": "disk"}}
    claimed["spec"]["template"]["metadata"] = {"labels": {"app": "disk"}}
    await plane.client.create(STATEFUL_SET, claimed, "default")
    await plane.has(PERSISTENT_VOLUME_CLAIM, "data-disk-0")


async def test_a_disruption_budget(plane: ControlPlane) -> None:
    """The budget's status says how many Pods may go, and eviction heeds it."""
    await plane.kubelets.add_node("node-1")
    await plane.client.create(STATEFUL_SET, workload("StatefulSet", "db", replicas=2, template=template()), "default")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"minAvailable": "50%", "selector": {"matchLabels": APP}},
    }
    await plane.client.create(POD_DISRUPTION_BUDGET, budget, "default")

    def allows_one(obj: dict[str, Any]) -> bool:
        status = obj["status"]
        return bool(
            (status["disruptionsAllowed"], status["currentHealthy"], status["desiredHealthy"], status["expectedPods"])
            == (1, 2, 1, 2)
        )

    await plane.has(POD_DISRUPTION_BUDGET, "db", allows_one)


async def test_finished_jobs_expire(plane: ControlPlane) -> None:
    """A finished Job with ttlSecondsAfterFinished 0 goes, and its Pods with it."""
    await plane.kubelets.add_node("node-1")
    job = workload("Job", "short", ttlSecondsAfterFinished=0, template=template(restartPolicy="Never"))
    await plane.client.create(JOB, job, "default")
    found: list[str] = []

    async def runs() -> bool:
        found[:] = await running(plane)
        return bool(found)

    await plane.eventually(runs)
    await finish(plane, found[0], "Succeeded")

    async def gone() -> bool:
        try:
            await plane.client.get(JOB, "short", "default")
        except NotFound:
            return not await plane.objects(POD)
        return False

    await plane.eventually(gone)


async def test_a_quota_is_recounted(plane: ControlPlane) -> None:
    """What a deleted Pod used is free again."""
    await plane.kubelets.add_node("node-1")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": "default"},
        "spec": {"hard": {"pods": "2", "requests.cpu": "1", "count/configmaps": "10"}},
    }
    await plane.client.create(RESOURCE_QUOTA, quota, "default")
    await plane.has(RESOURCE_QUOTA, "small", lambda obj: obj["status"]["used"]["pods"] == "0")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "600m"}}}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    await plane.client.create(POD, pod, "default")
    await plane.has(RESOURCE_QUOTA, "small", lambda obj: obj["status"]["used"]["requests.cpu"] == "600m")
    await plane.client.delete(POD, "a", "default")
    await plane.has(
        RESOURCE_QUOTA,
        "small",
        lambda obj: (obj["status"]["used"]["pods"], obj["status"]["used"]["requests.cpu"]) == ("0", "0"),
    )
