"""Pure decisions of the controllers, read as transcripts."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from kubeglass.components.api import kinds
from kubeglass.components.api.objects import (
    Endpoints,
    EndpointSlice,
    Node,
    ObjectMeta,
    OwnerReference,
    Pod,
    Service,
    Taint,
    Toleration,
    decode,
)
from kubeglass.components.controllers import endpoints, endpointslice, nodelifecycle, podgc, tainteviction
from kubeglass.components.controllers.actions import Create, Delete, Patch
from kubeglass.components.controllers.arithmetic import fnv32a, safe_encode, scaled, template_hash
from kubeglass.components.controllers.controllers import CONTROLLERS, selected
from kubeglass.components.controllers.jobplan import indexes, ranges
from kubeglass.components.controllers.nodeipam import Ranges, preferred_index
from kubeglass.components.controllers.ownergraph import FOREGROUND, OwnerGraph, deletion_policy, judge
from kubeglass.components.controllers.podstate import deletion_rank
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.process import ConfigError

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
NOW = clock.parse("2026-01-02T03:04:05Z")


def pod(
    name: str, ip: str = "10.0.0.1", *, ready: bool = True, moved: str = "2026-01-02T03:00:00Z", **meta: Any
) -> Pod:
    return decode(
        Pod,
        {
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}, **meta},
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}],
            },
            "status": {
                "phase": "Running",
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": moved}],
            },
        },
    )


# -- arithmetic -----------------------------------------------------------------------------------------------------


def test_fnv_and_safe_encoding() -> None:
    """FNV-1a's published vectors, and the alphabet without vowels."""
    assert [fnv32a(text) for text in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    assert safe_encode("0123456789") == "456789bcdf"
    assert template_hash({"a": 1, "b": 2}) == template_hash({"b": 2, "a": 1}) != template_hash({"a": 1, "b": 2}, 1)


@pytest.mark.parametrize(
    ("value", "up", "result"), [("25%", True, 2), ("25%", False, 1), (3, True, 3), ("0%", True, 0)]
)
def test_percentages(value: int | str, up: bool, result: int) -> None:
    """Surge rounds up, unavailable rounds down."""
    assert scaled(value, 5, round_up=up) == result


def test_indexes_are_written_as_ranges() -> None:
    """Three and more neighbours become a range, two are listed."""
    assert ranges({1, 2, 4, 5, 6, 9}) == "1,2,4-6,9"
    assert indexes("1,2,4-6,9") == {1, 2, 4, 5, 6, 9}


def test_whom_to_delete_first() -> None:
    """Not ready before ready, crowded nodes before others, young before old."""
    waiting, old, young = (
        pod("waiting", ready=False),
        pod("old"),
        pod("young", creationTimestamp="2026-01-02T03:03:00Z"),
    )
    ranked = sorted([old, young, waiting], key=lambda each: deletion_rank(each, 0))
    assert [each.metadata.name for each in ranked] == ["waiting", "young", "old"]
    assert deletion_rank(old, 3) < deletion_rank(young, 1)


# -- endpoints ------------------------------------------------------------------------------------------------------

SERVICE = decode(
    Service,
    {
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "s",
            "labels": {"team": "x"},
            "creationTimestamp": "2026-01-02T03:01:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "127.96.0.5",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "http"}],
        },
    },
)


def slices(*actions: Any) -> list[EndpointSlice]:
    return [
        decode(EndpointSlice, {**action.obj, "metadata": {**action.obj["metadata"], "name": f"web-{n}", "uid": str(n)}})
        for n, action in enumerate(actions)
        if isinstance(action, Create)
    ]


def slices_patch(before: list[Pod], now: list[Pod]) -> Any:
    """What is written to a Service's slice when its Pods change."""
    made = slices(*endpointslice.plan(endpointslice.Observed(SERVICE, before, [], {})).actions)
    (action,) = endpointslice.plan(endpointslice.Observed(SERVICE, now, made, {})).actions
    assert isinstance(action, Patch)
    return action.patch


def endpoints_patch(before: list[Pod], now: list[Pod]) -> Any:
    """The same for its Endpoints."""
    (made,) = endpoints.plan(SERVICE, before, None).actions
    assert isinstance(made, Create)
    assert made.obj["metadata"]["annotations"] == {TRIGGER_TIME: "2026-01-02T03:01:00Z"}
    (action,) = endpoints.plan(SERVICE, now, decode(Endpoints, made.obj)).actions
    assert isinstance(action, Patch)
    return action.patch


def test_a_slice_for_a_service() -> None:
    """The first Pods make one slice, with labels, owner, resolved port and conditions."""
    observed = endpointslice.Observed(SERVICE, [pod("a"), pod("b", "10.0.0.2", ready=False)], [], {"node-1": "z"})
    (action,) = endpointslice.plan(observed).actions
    assert isinstance(action, Create)
    assert action.obj["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert action.obj["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert [e["conditions"]["ready"] for e in action.obj["endpoints"]] == [True, False]
    assert action.obj["endpoints"][0]["zone"] == "z"
    # The Service is younger than its Pods.
    assert action.obj["metadata"]["annotations"] == {TRIGGER_TIME: "2026-01-02T03:01:00Z"}


def test_nothing_changes_twice() -> None:
    """A slice that says what the Pods are is left alone."""
    pods = [pod("a"), pod("b", "10.0.0.2")]
    first = endpointslice.plan(endpointslice.Observed(SERVICE, pods, [], {}))
    assert endpointslice.plan(endpointslice.Observed(SERVICE, pods, slices(*first.actions), {})).actions == ()


def test_a_hundred_endpoints_per_slice() -> None:
    """250 Pods make three slices; one Pod's change touches one of them; all gone leaves one of them, empty."""
    pods = [pod(f"p{n:03}", f"10.0.{n // 250}.{n % 250 + 1}") for n in range(250)]
    first = endpointslice.plan(endpointslice.Observed(SERVICE, pods, [], {}))
    assert [len(action.obj["endpoints"]) for action in first.actions if isinstance(action, Create)] == [100, 100, 50]
    made = slices(*first.actions)
    changed = [*pods[:7], pod("p007", pods[7].status.pod_ip, ready=False), *pods[8:]]
    (action,) = endpointslice.plan(endpointslice.Observed(SERVICE, changed, made, {})).actions
    assert isinstance(action, Patch) and len(action.patch["endpoints"]) == 100
    emptied, *gone = endpointslice.plan(endpointslice.Observed(SERVICE, [], made, {})).actions
    assert isinstance(emptied, Patch) and (emptied.patch["endpoints"], emptied.patch["ports"]) == ([], [])
    assert sorted([emptied.name, *(action.name for action in gone if isinstance(action, Delete))]) == [
        "web-0",
        "web-1",
        "web-2",
    ]


def test_the_empty_slice_becomes_the_first_full_one() -> None:
    """The slice of a Service without Pods gets their endpoints and ports, and keeps its name."""
    (empty,) = slices(*endpointslice.plan(endpointslice.Observed(SERVICE, [], [], {})).actions)
    (action,) = endpointslice.plan(endpointslice.Observed(SERVICE, [pod("a")], [empty], {})).actions
    assert isinstance(action, Patch) and action.name == empty.metadata.name
    assert [endpoint["addresses"] for endpoint in action.patch["endpoints"]] == [[pod("a").status.pod_ip]]
    assert action.patch["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert action.patch["metadata"]["annotations"] == {TRIGGER_TIME: "2026-01-02T03:00:00Z"}


@pytest.mark.parametrize(
    ("now", "stamp"),
    [
        ([pod("a"), pod("b", "10.0.0.2"), pod("c", "10.0.0.3", moved="2026-01-02T05:00:00Z")], "2026-01-02T05:00:00Z"),
        ([pod("a", ready=False, moved="2026-01-02T04:00:00Z"), pod("b", "10.0.0.2")], "2026-01-02T04:00:00Z"),
        ([pod("a")], None),
        ([], None),
        ([pod("a", deletionTimestamp="2026-01-02T09:00:00Z"), pod("b", "10.0.0.2")], None),
    ],
    ids=["comes", "is not ready any more", "goes", "all go", "begins to terminate"],
)
@pytest.mark.parametrize("plan", [slices_patch, endpoints_patch])
def test_the_time_of_a_change_is_that_of_its_cause(plan: Any, now: list[Pod], stamp: str | None) -> None:
    """Of those Pods whose readiness moved; where nobody says when, no time is better than that of something older."""
    patch = plan([pod("a"), pod("b", "10.0.0.2")], now)
    assert patch["metadata"]["annotations"][TRIGGER_TIME] == stamp


def test_a_slice_of_an_earlier_service_is_not_reused() -> None:
    """What belongs to a Service of the same name that is gone goes with it."""
    (empty,) = slices(*endpointslice.plan(endpointslice.Observed(SERVICE, [], [], {})).actions)
    later = replace(SERVICE, metadata=replace(SERVICE.metadata, uid="later"))
    actions = endpointslice.plan(endpointslice.Observed(later, [pod("a")], [empty], {})).actions
    assert sorted(type(action).__name__ for action in actions) == ["Create", "Delete"]


def test_terminating_pods_serve_until_they_go() -> None:
    """A Pod that terminates stays listed as not ready, serving and terminating."""
    dying = pod("a", deletionTimestamp="2026-01-02T03:04:00Z")
    (action,) = endpointslice.plan(endpointslice.Observed(SERVICE, [dying], [], {})).actions
    assert isinstance(action, Create)
    assert action.obj["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


# -- nodes ----------------------------------------------------------------------------------------------------------


def node(name: str, ready: str = "True", zone: str = "", **spec: Any) -> Node:
    return decode(
        Node,
        {
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone} if zone else {}},
            "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-02T03:00:00Z"}]},
        },
    )


def test_silence_is_measured_on_our_clock() -> None:
    """Only a new sign of life counts, whatever its own time says."""
    timing = nodelifecycle.Timing()
    first = nodelifecycle.hear(None, node("a"), None, timing, 100.0)
    assert nodelifecycle.hear(first, node("a"), None, timing, 140.0) is first
    assert first.grace_seconds == timing.monitor_grace_period_seconds
    never = decode(Node, {"metadata": {"name": "new"}})
    assert nodelifecycle.hear(None, never, None, timing, 0.0).grace_seconds == timing.startup_grace_period_seconds


def test_a_silent_node_becomes_unknown() -> None:
    """Known conditions say that the kubelet stopped posting, others that it never did."""
    changed = {found["type"]: found for found in nodelifecycle.unknown_conditions(node("a"), NOW)}
    assert changed["Ready"]["reason"] == "NodeStatusUnknown"
    assert changed["Ready"]["message"] == "Kubelet stopped posting node status."
    assert changed["DiskPressure"]["reason"] == "NodeStatusNeverUpdated"
    assert not [c for c in nodelifecycle.unknown_conditions(node("a", "Unknown"), NOW) if c["type"] == "Ready"]


def test_taints_follow_conditions() -> None:
    """Our taints come and go with the conditions; foreign ones stay."""
    foreign = {"key": "mine", "effect": "NoExecute"}
    silent = node("a", "Unknown", taints=[foreign])
    wanted = nodelifecycle.no_schedule_taints(silent), nodelifecycle.no_execute_taint(silent)
    patch = nodelifecycle.taint_patch(silent, *wanted, NOW)
    assert patch is not None
    assert [(t["key"], t["effect"]) for t in patch.patch["spec"]["taints"]] == [
        ("mine", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoSchedule"),
    ]
    healthy = node("a", taints=patch.patch["spec"]["taints"])
    patch = nodelifecycle.taint_patch(healthy, set(), "", NOW)
    assert patch is not None and patch.patch["spec"]["taints"] == [foreign]


def test_eviction_rates() -> None:
    """One silent node: the full rate; a mostly silent small zone: none; every zone silent: none."""
    timing = nodelifecycle.Timing()
    up, down = node("up"), node("down", "Unknown")
    assert nodelifecycle.eviction_rates({"": [up, down]}, timing) == {"": 0.1}
    assert nodelifecycle.eviction_rates({"": [up, down, down, down]}, timing) == {"": 0.0}
    assert nodelifecycle.eviction_rates({"": [down, down]}, timing) == {"": 0.0}
    assert nodelifecycle.eviction_rates({"a": [down], "b": [up]}, timing) == {"a": 0.1, "b": 0.1}


@pytest.mark.parametrize(
    ("tolerations", "left"),
    [
        ([], 0.0),
        ([Toleration(operator="Exists")], None),
        ([Toleration(key="k", operator="Exists", toleration_seconds=300)], 295.0),
        ([Toleration(key="other", operator="Exists")], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Toleration], left: float | None) -> None:
    """Untolerated means now, tolerated without a limit means for ever, a limit runs from when the taint came."""
    taint = Taint(key="k", effect="NoExecute", time_added="2026-01-02T03:04:00Z")
    assert tainteviction.seconds_to_live([taint], tolerations, NOW) == left


def test_pod_ranges() -> None:
    """A node's subnet has the number its address ends with; others get the lowest free one; freed ones come back."""
    ranges_ = Ranges(IPv4Network("127.128.0.0/16"), 24)
    assert preferred_index(["127.64.0.7"], ranges_.count) == 7
    assert ranges_.take("node-7", 7) == ("127.128.7.0/24", 1)
    assert ranges_.take("other", 7) == ("127.128.1.0/24", 2)
    assert ranges_.release("node-7") == 1
    assert ranges_.take("again", 7) == ("127.128.7.0/24", 1)
    small = Ranges(IPv4Network("10.0.0.0/24"), 25)
    assert [small.take(name, -1) is not None for name in "abc"] == [True, True, False]
    with pytest.raises(ValueError, match="CIDR set failed"):
        Ranges(IPv4Network("10.0.0.0/24"), 16)


def test_lost_pods() -> None:
    """Pods of a node that has been missing for long are removed, finished ones only beyond the threshold."""
    lost = podgc.plan([pod("a")], [], {"node-1": NOW - 41}, 0, NOW)
    assert [(reason, found.metadata.name) for reason, found in lost] == [("orphaned", "a")]
    assert podgc.plan([pod("a")], [], {"node-1": NOW - 10}, 0, NOW) == []


# -- owners ---------------------------------------------------------------------------------------------------------


def meta(uid: str, *owners: str, **more: Any) -> ObjectMeta:
    references = tuple(OwnerReference(uid=owner, name=owner, kind="X", block_owner_deletion=True) for owner in owners)
    return ObjectMeta(uid=uid, name=uid, owner_references=references, **more)


def test_the_graph_remembers_dependents_of_the_gone() -> None:
    """Dropping an owner names its dependents; dropping them leaves nothing behind."""
    graph = OwnerGraph()
    graph.put(kinds.DEPLOYMENT, meta("d"))
    graph.put(kinds.REPLICA_SET, meta("r", "d"))
    assert [found.uid for found in graph.drop("d")] == ["r"]
    stub = graph.get("d")
    assert stub is not None and not stub.seen
    graph.drop("r")
    assert len(graph) == 0


def test_verdicts() -> None:
    """One living owner keeps an object; a vanished one and one that waits do not."""
    reference = OwnerReference(uid="o", block_owner_deletion=True)
    assert judge([]).keep
    assert judge([(reference, True, False), (reference, False, False)]).keep
    assert not judge([(reference, False, False)]).keep
    waiting = judge([(reference, True, True)])
    assert not waiting.keep
    assert deletion_policy(waiting, (), has_dependents=True) == "Foreground"
    assert deletion_policy(waiting, (), has_dependents=False) == "Background"
    assert deletion_policy(judge([(reference, False, False)]), (FOREGROUND,), has_dependents=False) == "Foreground"


# -- the table ------------------------------------------------------------------------------------------------------


def test_the_controllers_flag() -> None:
    """`*` is everything, `-x` takes one away, unknown names are refused."""
    everything = {row.name for row in CONTROLLERS}
    assert {row.name for row in selected(["*"])} == everything
    assert {row.name for row in selected(["*", "-job-controller"])} == everything - {"job-controller"}
    assert [row.name for row in selected(["namespace-controller"])] == ["namespace-controller"]
    with pytest.raises(ConfigError, match='"nonsense" is not in the list of known controllers'):
        selected(["nonsense"])
