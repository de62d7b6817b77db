from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.components.apiserver.registry.conftest import Cluster, deployment, pod

from kubeglass.components.api import errors, kinds
from kubeglass.components.apiserver.registry import patching
from kubeglass.components.apiserver.registry.context import DeleteOptions
from kubeglass.components.apiserver.registry.subresources import Subresources


def signer(
    account: dict[str, Any], *, audiences: Sequence[str], expiration_seconds: int, bound: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    return f"{account['metadata']['name']}|{','.join(bound)}", tuple(audiences) or ("https://kubernetes.default.svc",)


def actions(cluster: Cluster) -> Subresources:
    return Subresources(cluster.store, cluster.reader, cluster.served, signer, lambda: cluster.now)


async def test_binding_assigns_a_pod_once(cluster: Cluster) -> None:
    """The Pod gets its node and PodScheduled; a second binding is a conflict."""
    await cluster.create(kinds.POD, pod())
    binding = {"target": {"kind": "Node", "name": "n1"}, "metadata": {"name": "web"}}
    answer = await actions(cluster).bind(cluster.context, "default", "web", binding)
    assert (answer["status"], answer["code"]) == ("Success", 201)
    bound = await cluster.get(kinds.POD, "web")
    assert bound is not None
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
    ]
    with pytest.raises(errors.Conflict) as refused:
        await actions(cluster).bind(cluster.context, "default", "web", binding)
    assert refused.value.message == (
        'Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n1"'
    )


async def test_scale_reads_and_writes_replicas(cluster: Cluster) -> None:
    """A Scale shows spec and status replicas and the selector; writing it changes only the replicas."""
    await cluster.create(kinds.DEPLOYMENT, deployment(replicas=2))
    scale = await actions(cluster).get_scale(kinds.DEPLOYMENT, "default", "web")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "app=web"})

    def wanted(current: dict[str, Any]) -> dict[str, Any]:
        return {**current, "spec": {"replicas": 5}}

    after = await actions(cluster).update_scale(cluster.context, kinds.DEPLOYMENT, "default", "web", wanted)
    assert after["spec"] == {"replicas": 5}
    stored = await cluster.get(kinds.DEPLOYMENT, "web")
    assert stored is not None
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (5, 2)
    with pytest.raises(errors.Invalid, match="Scale"):
        await actions(cluster).update_scale(
            cluster.context, kinds.DEPLOYMENT, "default", "web", lambda current: {**current, "spec": {"replicas": -1}}
        )


async def test_eviction_asks_the_budget(cluster: Cluster) -> None:
    """A running Pod goes while its budget allows, and not beyond."""
    for name in ("a", "b"):
        labelled = pod(name, nodeName="n1")
        labelled["metadata"]["labels"] = {"app": "x"}
        await cluster.create(kinds.POD, labelled)
        await cluster.update(kinds.POD, name, lambda current: current["status"].update(phase="Running"), "status")
    await cluster.create(
        kinds.POD_DISRUPTION_BUDGET,
        {"metadata": {"name": "pdb"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}},
    )

    def allowed(current: dict[str, Any]) -> None:
        current["status"] = {
            "observedGeneration": 1,
            "disruptionsAllowed": 1,
            "currentHealthy": 2,
            "desiredHealthy": 1,
            "expectedPods": 2,
        }

    await cluster.update(kinds.POD_DISRUPTION_BUDGET, "pdb", allowed, "status")
    await actions(cluster).evict(cluster.context, "default", "a", DeleteOptions())
    gone = await cluster.get(kinds.POD, "a")
    assert gone is not None and gone["metadata"]["deletionTimestamp"]
    with pytest.raises(errors.TooManyRequests) as refused:
        await actions(cluster).evict(cluster.context, "default", "b", DeleteOptions())
    assert refused.value.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert refused.value.causes[0].message == "The disruption budget pdb needs 1 healthy pods and has 2 currently"


async def test_tokens_are_bound_to_a_pod_of_their_account(cluster: Cluster) -> None:
    """A TokenRequest for a Pod is signed for Pod and node; too short a life is refused."""
    await cluster.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "app"}})
    await cluster.create(kinds.POD, pod(serviceAccountName="app"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    answer = await actions(cluster).token(
        cluster.context, "default", "app", {"spec": {"boundObjectRef": reference, "audiences": ["vault"]}}
    )
    assert answer["status"] == {"token": "app|pod", "expirationTimestamp": "2027-01-15T09:00:00Z"}
    with pytest.raises(errors.Invalid, match="may not specify a duration less than 10 minutes"):
        await actions(cluster).token(cluster.context, "default", "app", {"spec": {"expirationSeconds": 5}})


async def test_server_side_apply_through_the_store(cluster: Cluster) -> None:
    """Apply creates and owns; an update by another manager takes the field; the next apply conflicts."""
    struct = cluster.served.struct(kinds.CONFIG_MAP)

    async def apply(data: dict[str, str], force: bool = False) -> tuple[bytes, bool]:
        cluster.context.field_manager = "me"
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
        change = patching.apply_change(
            kinds.CONFIG_MAP, struct, config, "c", cluster.context, force=force, now=lambda: cluster.now
        )
        return await cluster.store.update(cluster.context, kinds.CONFIG_MAP, "default", "c", change, may_create=True)

    assert (await apply({"a": "1", "b": "1"}))[1] is True
    cluster.context.applying, cluster.context.field_manager = False, "other"
    await cluster.update(kinds.CONFIG_MAP, "c", lambda current: current["data"].update(a="2"))
    with pytest.raises(errors.Conflict, match=r'conflict with "other" using v1: \.data\.a'):
        await apply({"a": "1"})
    await apply({"a": "1"}, force=True)
    kept = await cluster.get(kinds.CONFIG_MAP, "c")
    assert kept is not None and kept["data"] == {"a": "1"}
