from typing import Any

import pytest
from tests.components.apiserver.registry.conftest import Cluster, deployment, pod

from kubeglass.components.api import errors, kinds
from kubeglass.components.apiserver.registry.context import WriteContext


async def test_a_created_object_has_everything_the_server_gives(cluster: Cluster) -> None:
    """A Pod gets uid, creationTimestamp, generation, defaults, a Pending status and a resourceVersion."""
    made = await cluster.create(kinds.POD, pod())
    metadata = made["metadata"]
    assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")
    assert metadata["namespace"] == "default"
    assert metadata["creationTimestamp"] == "2027-01-15T08:00:00Z"
    assert metadata["generation"] == 1
    assert len(metadata["uid"]) == 36
    assert int(metadata["resourceVersion"]) > 0
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    spec = made["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["enableServiceLinks"] is True
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["terminationMessagePath"] == "/dev/termination-log"


async def test_names_are_unique_and_generated(cluster: Cluster) -> None:
    """A second object of a name is refused; generateName gets five letters."""
    await cluster.create(kinds.POD, pod())
    with pytest.raises(errors.AlreadyExists, match='pods "web" already exists'):
        await cluster.create(kinds.POD, pod())
    generated = pod()
    generated["metadata"] = {"generateName": "web-"}
    made = await cluster.create(kinds.POD, generated)
    assert made["metadata"]["name"].startswith("web-") and len(made["metadata"]["name"]) == 9


async def test_invalid_objects_are_refused_with_their_causes(cluster: Cluster) -> None:
    """The message is upstream's, one cause per field."""
    bad = deployment()
    bad["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(errors.Invalid) as refused:
        await cluster.create(kinds.DEPLOYMENT, bad)
    assert refused.value.message == (
        'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"other"}: '
        "`selector` does not match template `labels`"
    )
    with pytest.raises(errors.Invalid) as refused:
        await cluster.create(kinds.POD, {"metadata": {"name": "Web_1"}, "spec": {}})
    assert [cause.field for cause in refused.value.causes] == ["metadata.name", "spec.containers"]


async def test_unknown_fields(cluster: Cluster) -> None:
    """Strict refuses, Warn warns, Ignore drops in silence."""
    with pytest.raises(errors.BadRequest) as refused:
        await cluster.create(kinds.POD, pod(replicas=3))
    assert refused.value.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.replicas"'
    )
    cluster.context = WriteContext(cluster.context.user, field_validation="Warn")
    made = await cluster.create(kinds.POD, pod(replicas=3))
    assert "replicas" not in made["spec"]
    assert cluster.context.warnings == ['unknown field "spec.replicas"']


async def test_an_update_of_an_old_version_conflicts(cluster: Cluster) -> None:
    """Optimistic concurrency: the second writer with the same resourceVersion loses."""
    made = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    await cluster.update(kinds.CONFIG_MAP, "c", lambda _: {**made, "data": {"a": "2"}})
    with pytest.raises(errors.Conflict) as refused:
        await cluster.update(kinds.CONFIG_MAP, "c", lambda _: {**made, "data": {"a": "3"}})
    assert refused.value.message == (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_spec_and_status_are_written_apart(cluster: Cluster) -> None:
    """The main resource keeps the status, the status subresource keeps the spec; only the spec counts generations."""
    await cluster.create(kinds.DEPLOYMENT, deployment())

    def both(current: dict[str, Any]) -> None:
        current["spec"]["replicas"] = 5
        current["status"] = {"replicas": 7}

    after = await cluster.update(kinds.DEPLOYMENT, "web", both)
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (5, {}, 2)

    def status(current: dict[str, Any]) -> None:
        current["spec"]["replicas"] = 9
        current["status"] = {"replicas": 5}

    after = await cluster.update(kinds.DEPLOYMENT, "web", status, "status")
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (5, {"replicas": 5}, 2)


async def test_an_update_that_changes_nothing_writes_nothing(cluster: Cluster) -> None:
    """The resourceVersion stays, so no watcher hears of it."""
    made = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    after = await cluster.update(kinds.CONFIG_MAP, "c", lambda current: current)
    assert after == made


async def test_immutable_fields(cluster: Cluster) -> None:
    """A selector cannot change, nor what a Pod runs besides its images."""
    await cluster.create(kinds.DEPLOYMENT, deployment())

    def reselect(current: dict[str, Any]) -> None:
        current["spec"]["selector"]["matchLabels"] = {"app": "x"}
        current["spec"]["template"]["metadata"]["labels"] = {"app": "x"}

    with pytest.raises(errors.Invalid, match=r"spec\.selector: Invalid value: .* field is immutable"):
        await cluster.update(kinds.DEPLOYMENT, "web", reselect)
    await cluster.create(kinds.POD, pod())

    def rename(current: dict[str, Any]) -> None:
        current["spec"]["containers"][0]["command"] = ["sh"]

    with pytest.raises(errors.Invalid, match="pod updates may not change fields other than"):
        await cluster.update(kinds.POD, "web", rename)

    def reimage(current: dict[str, Any]) -> None:
        current["spec"]["containers"][0]["image"] = "nginx:2"

    after = await cluster.update(kinds.POD, "web", reimage)
    assert after["spec"]["containers"][0]["image"] == "nginx:2"
    assert after["metadata"]["generation"] == 2


async def test_deletion_waits_for_finalizers(cluster: Cluster) -> None:
    """An object with finalizers gets a deletionTimestamp and goes when the last finalizer is taken off."""
    await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "c", "finalizers": ["example.com/a"]}, "data": {}})
    body, gone = await cluster.delete(kinds.CONFIG_MAP, "c")
    assert not gone
    assert body["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:00Z"
    assert body["metadata"]["deletionGracePeriodSeconds"] == 0
    with pytest.raises(errors.Invalid, match="no new finalizers can be added if the object is being deleted"):
        await cluster.update(
            kinds.CONFIG_MAP, "c", lambda current: current["metadata"]["finalizers"].append("example.com/b")
        )
    await cluster.update(kinds.CONFIG_MAP, "c", lambda current: current["metadata"].pop("finalizers") and None)
    assert await cluster.get(kinds.CONFIG_MAP, "c") is None


async def test_a_running_pod_is_deleted_gracefully(cluster: Cluster) -> None:
    """An unassigned Pod goes at once; an assigned one gets its grace period, which a second DELETE may shorten."""
    await cluster.create(kinds.POD, pod("loose"))
    _, gone = await cluster.delete(kinds.POD, "loose")
    assert gone
    await cluster.create(kinds.POD, pod("bound", nodeName="n1"))
    body, gone = await cluster.delete(kinds.POD, "bound")
    assert not gone
    assert body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert body["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:30Z"
    body, gone = await cluster.delete(kinds.POD, "bound", grace_period_seconds=5)
    assert (body["metadata"]["deletionTimestamp"], gone) == ("2027-01-15T08:00:05Z", False)
    body, gone = await cluster.delete(kinds.POD, "bound", grace_period_seconds=10)
    assert (body["metadata"]["deletionTimestamp"], gone) == ("2027-01-15T08:00:05Z", False)
    _, gone = await cluster.delete(kinds.POD, "bound", grace_period_seconds=0)
    assert gone
    assert await cluster.get(kinds.POD, "bound") is None


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)]
)
async def test_propagation(cluster: Cluster, policy: str, finalizers: list[str] | None) -> None:
    """Foreground and Orphan leave the object to the garbage collector by a finalizer; Background deletes at once."""
    await cluster.create(kinds.DEPLOYMENT, deployment())
    body, gone = await cluster.delete(kinds.DEPLOYMENT, "web", propagation_policy=policy)
    assert gone is (finalizers is None)
    assert body["metadata"].get("finalizers") == finalizers


async def test_delete_preconditions(cluster: Cluster) -> None:
    """A DELETE for another uid is a conflict, of an absent name a 404."""
    await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "c"}})
    with pytest.raises(errors.Conflict, match="Precondition failed: UID in precondition: x, UID in object meta: "):
        await cluster.delete(kinds.CONFIG_MAP, "c", uid="x")
    with pytest.raises(errors.NotFound, match='configmaps "d" not found'):
        await cluster.delete(kinds.CONFIG_MAP, "d")


async def test_a_namespace_terminates_before_it_goes(cluster: Cluster) -> None:
    """Deletion marks it Terminating; it goes when /finalize takes off the last spec finalizer."""
    made = await cluster.create(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    body, gone = await cluster.delete(kinds.NAMESPACE, "n")
    assert (body["status"]["phase"], gone) == ("Terminating", False)

    def finalize(current: dict[str, Any]) -> None:
        current["spec"]["finalizers"] = []

    await cluster.update(kinds.NAMESPACE, "n", finalize, "finalize")
    assert await cluster.get(kinds.NAMESPACE, "n") is None


async def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    """Everything is answered as if, and nothing is stored."""
    cluster.context.dry_run = True
    made = await cluster.create(kinds.POD, pod())
    assert "resourceVersion" not in made["metadata"]
    assert await cluster.get(kinds.POD, "web") is None


async def test_service_addresses_and_ports(cluster: Cluster) -> None:
    """A Service gets an address and node ports of its own, keeps them, and may not take another's."""
    ports = [{"port": 80}]
    first = await cluster.create(
        kinds.SERVICE, {"metadata": {"name": "a"}, "spec": {"ports": ports, "type": "NodePort"}}
    )
    spec = first["spec"]
    assert spec["clusterIP"].startswith("10.96.") and spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"][0]["nodePort"] == 30000 and spec["ports"][0]["targetPort"] == 80
    second = await cluster.create(kinds.SERVICE, {"metadata": {"name": "b"}, "spec": {"ports": ports}})
    assert second["spec"]["clusterIP"] != spec["clusterIP"]
    with pytest.raises(errors.Invalid, match=r"failed to allocate IP .* provided IP is already allocated"):
        await cluster.create(
            kinds.SERVICE, {"metadata": {"name": "c"}, "spec": {"ports": ports, "clusterIP": spec["clusterIP"]}}
        )
    with pytest.raises(errors.Invalid, match=r"The range of valid ports is 30000-32767"):
        await cluster.create(
            kinds.SERVICE,
            {"metadata": {"name": "c"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}},
        )
    headless = await cluster.create(
        kinds.SERVICE, {"metadata": {"name": "h"}, "spec": {"ports": ports, "clusterIP": "None"}}
    )
    assert headless["spec"]["clusterIPs"] == ["None"]

    def replaced(current: dict[str, Any]) -> dict[str, Any]:
        return {
            "metadata": {"name": "a", "resourceVersion": current["metadata"]["resourceVersion"]},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "name": "y"}, {"port": 81, "name": "x"}]},
        }

    after = await cluster.update(kinds.SERVICE, "a", replaced)
    assert after["spec"]["clusterIP"] == spec["clusterIP"]
    assert [port["nodePort"] for port in after["spec"]["ports"]] == [30000, 30001]


async def test_events_speak_both_groups(cluster: Cluster) -> None:
    """An events.k8s.io Event is kept as a core Event and answered as it was asked for."""
    event = {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "hello",
        "eventTime": "2026-01-02T03:04:05.000000Z",
    }
    made = await cluster.create(kinds.EVENTS_EVENT, event)
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "hello")
    kept = await cluster.get(kinds.EVENT, "e")
    assert kept is not None
    assert (kept["apiVersion"], kept["message"], kept["involvedObject"]["name"]) == ("v1", "hello", "p")


async def test_jobs_select_their_own_pods(cluster: Cluster) -> None:
    """A Job without a selector gets one on its uid, and its template the labels to match."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox"}]}}
    made = await cluster.create(kinds.JOB, {"metadata": {"name": "j"}, "spec": {"template": template}})
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j"
    assert (made["spec"]["completions"], made["spec"]["parallelism"], made["spec"]["backoffLimit"]) == (1, 1, 6)
