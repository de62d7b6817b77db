"""What the default profile decides, and in which words it refuses."""

from __future__ import annotations

from collections import Counter

import pytest

from kubeglass.components.api.objects import (
    LabelSelector,
    PersistentVolume,
    PersistentVolumeClaim,
    PodDisruptionBudget,
    StorageClass,
    decode,
)
from kubeglass.components.scheduler.cycle import nodes_to_find

from .conftest import Cluster, pod

APP = {"matchLabels": {"app": "web"}}
WEB = {"app": "web"}


def test_no_nodes(cluster: Cluster) -> None:
    """An empty cluster says so."""
    assert cluster.place(pod("a")) == "no nodes available to schedule pods"


def test_the_emptier_node_wins(cluster: Cluster) -> None:
    """Among nodes that fit, the one left emptiest is chosen."""
    cluster.node("a", cpu="4")
    cluster.node("b", cpu="4")
    cluster.run("busy", on="a", cpu="2")
    assert cluster.place(pod("new", cpu="1")) == "b"


def test_insufficient_cpu_on_busy_nodes(cluster: Cluster) -> None:
    """Nodes whose free cpu is too small are counted, and preemption says it found nobody to evict."""
    for name in ("a", "b"):
        cluster.node(name, cpu="2")
        cluster.run(f"busy-{name}", on=name, cpu="1500m")
    assert cluster.place(pod("new", cpu="1")) == (
        "0/2 nodes are available: 2 Insufficient cpu. "
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )


def test_more_than_a_node_has(cluster: Cluster) -> None:
    """A request that not even an empty node could hold is beyond preemption's help."""
    cluster.node("a", cpu="2")
    cluster.node("b", cpu="2")
    assert cluster.place(pod("huge", cpu="100")) == (
        "0/2 nodes are available: 2 Insufficient cpu. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_every_lack_is_named(cluster: Cluster) -> None:
    """A node that lacks several resources is listed once for each, sorted as text."""
    cluster.node("a", cpu="2", memory="1Gi", pods="1")
    cluster.run("busy", on="a", cpu="1500m", memory="900Mi")
    assert cluster.place(pod("new", cpu="1", memory="512Mi")).startswith(
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods."
    )


@pytest.mark.parametrize(
    ("node_options", "spec", "reason"),
    [
        ({"unschedulable": True}, {}, "node(s) were unschedulable"),
        ({"taints": [{"key": "k", "effect": "NoSchedule"}]}, {}, "node(s) had untolerated taint(s)"),
        ({}, {"nodeSelector": {"disk": "ssd"}}, "node(s) didn't match Pod's node affinity/selector"),
        ({}, {"nodeName": "other"}, "node(s) didn't match the requested node name"),
    ],
)
def test_what_only_the_node_can_change(
    cluster: Cluster, node_options: dict[str, object], spec: dict[str, object], reason: str
) -> None:
    """Refusals by the node object are in upstream's words, and preemption does not help against them."""
    cluster.node("a", **node_options)
    assert cluster.place(pod("new", **spec)) == (
        f"0/1 nodes are available: 1 {reason}. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_reasons_are_counted_and_sorted(cluster: Cluster) -> None:
    """Each node is counted under its own reason."""
    cluster.node("a", unschedulable=True)
    cluster.node("b", taints=[{"key": "k", "effect": "NoExecute"}])
    cluster.node("c", taints=[{"key": "k", "effect": "NoSchedule"}])
    assert cluster.place(pod("new")).startswith(
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s)."
    )


def test_a_pod_for_one_named_node(cluster: Cluster) -> None:
    """Affinity to a node's name (as DaemonSets write it) leaves the other nodes out of the search."""
    cluster.node("a")
    cluster.node("b", cpu="1")
    affinity = _node_affinity(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["b"]}])
    assert cluster.place(pod("one", affinity=affinity)) == "b"
    cluster.run("busy", on="b", cpu="1")
    assert cluster.place(pod("two", cpu="1", affinity=affinity)).startswith(
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


def _node_affinity(**term: object) -> dict[str, object]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def test_preferred_node_affinity_outweighs_emptiness(cluster: Cluster) -> None:
    """A preferred node is taken although another is emptier."""
    cluster.node("plain")
    cluster.node("ssd", labels={"disk": "ssd"})
    cluster.run("busy", on="ssd", cpu="1")
    preferred = {
        "weight": 50,
        "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
    }
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
    assert cluster.place(pod("new", cpu="100m", affinity=affinity)) == "ssd"


def test_host_ports_conflict(cluster: Cluster) -> None:
    """Two Pods cannot have the same host port on one node, unless on different addresses."""
    cluster.node("a")
    ports = [{"containerPort": 80, "hostPort": 8080}]
    cluster.run("one", on="a", containers=[{"name": "c", "ports": ports}])
    assert cluster.place(pod("two", containers=[{"name": "c", "ports": ports}])) == (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert cluster.place(pod("udp", containers=[{"name": "c", "ports": [ports[0] | {"protocol": "UDP"}]}])) == "a"


# -- spreading ------------------------------------------------------------------------------------------------------


def test_hard_spread_over_zones(cluster: Cluster) -> None:
    """maxSkew 1 over zones puts Pods in turn into each zone and refuses when only the full one has room."""
    cluster.node("a", labels={"topology.kubernetes.io/zone": "z1"})
    cluster.node("b", labels={"topology.kubernetes.io/zone": "z2"}, pods="1")
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": APP,
        }
    ]
    placed = {cluster.place(pod(f"p{i}", labels=WEB, topologySpreadConstraints=spread)) for i in range(2)}
    assert placed == {"a", "b"}
    assert cluster.place(pod("p2", labels=WEB, topologySpreadConstraints=spread)) == "a"
    assert cluster.place(pod("p3", labels=WEB, topologySpreadConstraints=spread)) == (
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints. "
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )


def test_spread_needs_its_label(cluster: Cluster) -> None:
    """A node without the topology key is refused, in words of its own."""
    cluster.node("a")
    spread = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": APP}]
    assert cluster.place(pod("p", labels=WEB, topologySpreadConstraints=spread)).startswith(
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    )


def test_default_spread_of_a_workload(cluster: Cluster) -> None:
    """Pods of one workload spread over equal nodes without saying so."""
    cluster.node("a")
    cluster.node("b")
    cluster.selector = LabelSelector(match_labels=WEB)
    placed = Counter(cluster.place(pod(f"p{i}", labels=WEB)) for i in range(6))
    assert placed == {"a": 3, "b": 3}


# -- affinity between pods ------------------------------------------------------------------------------------------


def _pod_affinity(kind: str, topology: str = "kubernetes.io/hostname") -> dict[str, object]:
    term = {"labelSelector": APP, "topologyKey": topology}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_in_both_directions(cluster: Cluster) -> None:
    """One per node; and a plain Pod is kept away by a running Pod's own anti-affinity."""
    cluster.node("a")
    anti = _pod_affinity("podAntiAffinity")
    assert cluster.place(pod("one", labels=WEB, affinity=anti)) == "a"
    assert cluster.place(pod("two", labels=WEB, affinity=anti)) == (
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert cluster.place(pod("plain", labels=WEB)).startswith(
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    )
    assert cluster.place(pod("stranger", labels={"app": "db"})) == "a"


def test_affinity_follows_and_bootstraps(cluster: Cluster) -> None:
    """Pods that want each other start anywhere and stay together; a Pod that wants an absent one waits."""
    for name in ("a", "b", "c"):
        cluster.node(name)
    near = _pod_affinity("podAffinity")
    first = cluster.place(pod("one", labels=WEB, affinity=near))
    assert {cluster.place(pod(f"p{i}", labels=WEB, affinity=near)) for i in range(3)} == {first}
    lonely = Cluster()
    lonely.node("a")
    assert lonely.place(pod("x", labels={"app": "db"}, affinity=near)) == (
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_affinity_stays_in_its_namespace(cluster: Cluster) -> None:
    """Without namespaces a term speaks of the Pod's own namespace only; a namespaceSelector widens it."""
    cluster.node("a")
    cluster.snapshot.namespaces["other"] = {"team": "x"}
    cluster.run("theirs", on="a", labels=WEB, namespace="other")
    term = {"labelSelector": APP, "topologyKey": "kubernetes.io/hostname"}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert cluster.place(pod("mine", labels={"app": "me"}, affinity=anti)) == "a"
    wide = term | {"namespaceSelector": {"matchLabels": {"team": "x"}}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [wide]}}
    assert "didn't match pod anti-affinity rules" in cluster.place(pod("wide", affinity=anti))


# -- preemption -----------------------------------------------------------------------------------------------------


def test_preemption_takes_the_least(cluster: Cluster) -> None:
    """The node whose victims matter least is nominated, with as few victims as will do."""
    cluster.node("a", cpu="2")
    cluster.node("b", cpu="2")
    cluster.run("a-low", on="a", cpu="1", priority=1)
    cluster.run("a-high", on="a", cpu="1", priority=50)
    cluster.run("b-mid", on="b", cpu="2", priority=10)
    decision = cluster.cycle.decide(pod("vip", cpu="1", priority=100))
    assert decision.nomination is not None
    assert decision.nomination.node_name == "a"
    assert [victim.name for victim in decision.nomination.victims] == ["a-low"]
    assert decision.diagnosis is not None
    assert decision.diagnosis.message() == "0/2 nodes are available: 2 Insufficient cpu."


def test_preemption_respects_budgets(cluster: Cluster) -> None:
    """A node where a disruption budget would break is the dearer one."""
    for name in ("a", "b"):
        cluster.node(name, cpu="1")
    cluster.run("guarded", on="a", cpu="1", priority=1, labels=WEB)
    cluster.run("free", on="b", cpu="1", priority=5)
    cluster.budgets.append(
        decode(
            PodDisruptionBudget,
            {
                "metadata": {"name": "x", "namespace": "default"},
                "spec": {"selector": APP},
                "status": {"disruptionsAllowed": 0},
            },
        )
    )
    decision = cluster.cycle.decide(pod("vip", cpu="1", priority=100))
    assert decision.nomination is not None and decision.nomination.node_name == "b"


def test_preemption_never(cluster: Cluster) -> None:
    """preemptionPolicy Never is honoured and named."""
    cluster.node("a", cpu="1")
    cluster.run("low", on="a", cpu="1")
    assert cluster.place(pod("vip", cpu="1", priority=9, preemptionPolicy="Never")) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_nominated_room_is_kept(cluster: Cluster) -> None:
    """A Pod of lower priority does not slip into room that is nominated for a higher one."""
    cluster.node("a", cpu="1")
    cluster.nominator.nominate(pod("vip", cpu="1", priority=100), "a")
    assert cluster.place(pod("low", cpu="500m")).startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert cluster.place(pod("vip", cpu="1", priority=100)) == "a"


# -- volumes --------------------------------------------------------------------------------------------------------

CLAIMED = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]


def test_claims_must_exist_and_be_bound(cluster: Cluster) -> None:
    """A missing claim, and one that waits for nobody, refuse the Pod on all nodes at once."""
    cluster.node("a")
    assert cluster.place(pod("p", volumes=CLAIMED)) == (
        '0/1 nodes are available: persistentvolumeclaim "data" not found. '
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    claim = {"metadata": {"name": "data", "namespace": "default"}, "spec": {"storageClassName": "fast"}}
    cluster.claims[("default", "data")] = decode(PersistentVolumeClaim, claim)
    assert cluster.place(pod("p", volumes=CLAIMED)).startswith(
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )
    fast = {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "example.com/fast"}
    cluster.classes["fast"] = decode(StorageClass, fast)
    assert cluster.place(pod("p", volumes=CLAIMED)) == "a"


def test_bound_volumes_pin_their_pod(cluster: Cluster) -> None:
    """A Pod goes where its bound volume is."""
    cluster.node("a")
    cluster.node("b")
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}
    cluster.volumes["pv"] = decode(
        PersistentVolume, {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}
    )
    cluster.claims[("default", "data")] = decode(
        PersistentVolumeClaim,
        {"metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv"}},
    )
    assert cluster.place(pod("p", volumes=CLAIMED)) == "b"
    cluster.node("b", unschedulable=True)
    assert cluster.place(pod("q", volumes=CLAIMED)).startswith(
        "0/2 nodes are available: 1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable."
    )


def test_waiting_claims_find_their_volumes_node(cluster: Cluster) -> None:
    """Without a provisioner a waiting claim pulls its Pod to a node with a free volume; nowhere else will do."""
    cluster.node("a")
    cluster.node("b")
    cluster.classes["disks"] = decode(
        StorageClass,
        {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "kubernetes.io/no-provisioner"},
    )
    spec = {"storageClassName": "disks", "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data", "namespace": "default"}, "spec": spec}
    cluster.claims[("default", "data")] = decode(PersistentVolumeClaim, claim)
    assert cluster.place(pod("p", volumes=CLAIMED)).startswith(
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    )
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}
    disk = {
        "metadata": {"name": "disk"},
        "spec": {
            "storageClassName": "disks",
            "capacity": {"storage": "2Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
        "status": {"phase": "Available"},
    }
    cluster.volumes["disk"] = decode(PersistentVolume, disk)
    assert cluster.place(pod("p", volumes=CLAIMED)) == "b"


# -- the search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "enough"), [(10, 10), (100, 100), (1000, 420), (5000, 500), (6000, 300)])
def test_enough_nodes(nodes: int, enough: int) -> None:
    """In large clusters only a share of the nodes is searched for."""
    assert nodes_to_find(nodes) == enough


def test_the_seed_decides_ties() -> None:
    """Equal nodes are chosen among by the seed: the same seed, the same placements."""

    def placements(seed: int) -> list[str]:
        cluster = Cluster(seed)
        for name in "abcdef":
            cluster.node(name)
        return [cluster.place(pod(f"p{i}")) for i in range(4)]

    assert placements(1) == placements(1)
    assert any(placements(1) != placements(seed) for seed in range(2, 6))
