# ruff: noqa: E501
from typing import Any

import pytest

from kubeglass.components.api import kinds
from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.api.printers import pods, printer

NOW = 1_800_000_000.0
CREATED = "2027-01-15T07:57:55Z"  # 125 seconds before NOW


def cells(kind: kinds.Kind, obj: dict[str, Any]) -> dict[str, Any]:
    found = printer(kind)
    values = found.cells(obj, NOW)
    assert len(values) == len(found.columns)
    return {column.name: value for column, value in zip(found.columns, values, strict=True)}


def running(name: str = "a", ready: bool = True, restarts: int = 0, **status: Any) -> dict[str, Any]:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": {"running": {}}, **status}


def pod(*containers: dict[str, Any], inits: Any = (), deleted: bool = False, **status: Any) -> dict[str, Any]:
    metadata = {"name": "web", "creationTimestamp": CREATED} | ({"deletionTimestamp": CREATED} if deleted else {})
    return {
        "metadata": metadata,
        "spec": {
            "containers": [{"name": item["name"]} for item in containers] or [{"name": "a"}],
            "initContainers": [{"name": item["name"]} for item in inits],
        },
        "status": {"phase": "Running", "containerStatuses": list(containers), "initContainerStatuses": list(inits)}
        | status,
    }


@pytest.mark.parametrize(
    ("obj", "status", "ready"),
    [
        (pod(phase="Pending"), "Pending", "0/1"),
        (pod(running()), "Running", "1/1"),
        (pod(running(), deleted=True), "Terminating", "1/1"),
        (pod({"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}), "CrashLoopBackOff", "0/1"),
        (pod({"name": "a", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}), "OOMKilled", "0/1"),
        (pod({"name": "a", "state": {"terminated": {"exitCode": 3}}}), "ExitCode:3", "0/1"),
        (pod({"name": "a", "state": {"terminated": {"signal": 9, "exitCode": 137}}}), "Signal:9", "0/1"),
        (
            pod({"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}, phase="Succeeded"),
            "Completed",
            "0/1",
        ),
        (
            pod({"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}, running("b")),
            "NotReady",
            "1/2",
        ),
        (pod(phase="Pending", inits=[{"name": "i", "state": {"running": {}}}]), "Init:0/1", "0/1"),
        (
            pod(phase="Pending", inits=[{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
            "Init:Error",
            "0/1",
        ),
        (
            pod(phase="Pending", inits=[{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            "Init:CrashLoopBackOff",
            "0/1",
        ),
        (pod(phase="Failed", reason="Evicted"), "Evicted", "0/1"),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
            "SchedulingGated",
            "0/1",
        ),
    ],
)
def test_the_status_of_a_pod(obj: dict[str, Any], status: str, ready: str) -> None:
    """STATUS and READY are what kubectl shows for upstream."""
    found = cells(kinds.POD, obj)
    assert (found["Status"], found["Ready"]) == (status, ready)
    assert pods.status(decode(Pod, obj)) == status


def test_restarts_say_how_long_ago() -> None:
    """The count, and the end of the last container that was restarted."""
    ended = {"terminated": {"finishedAt": CREATED, "exitCode": 1}}
    assert cells(kinds.POD, pod(running(restarts=3, lastState=ended)))["Restarts"] == "3 (2m5s ago)"
    assert cells(kinds.POD, pod(running()))["Restarts"] == "0"


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        (
            kinds.DEPLOYMENT,
            {"spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}},
            {"Ready": "2/3", "Up-to-date": 3, "Available": 2, "Age": "2m5s", "Selector": "a=b"},
        ),
        (
            kinds.SERVICE,
            {"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}]}},
            {"Type": "NodePort", "Cluster-IP": "10.0.0.1", "External-IP": "<none>", "Port(s)": "80:30000/TCP", "Selector": "<none>"},
        ),
        (
            kinds.NODE,
            {
                "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"unschedulable": True},
                "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}},
            },
            {"Status": "Ready,SchedulingDisabled", "Roles": "control-plane", "Version": "v1", "Internal-IP": "<none>"},
        ),
        (
            kinds.JOB,
            {"spec": {"completions": 2, "parallelism": 1}, "status": {"succeeded": 1, "startTime": CREATED}},
            {"Status": "Running", "Completions": "1/2", "Duration": "2m5s"},
        ),
        (
            kinds.EVENT,
            {"type": "Warning", "reason": "Failed", "involvedObject": {"kind": "Pod", "name": "x"}, "message": " m ", "count": 4, "lastTimestamp": CREATED},
            {"Last Seen": "2m5s", "Object": "pod/x", "Message": "m", "Count": 4},
        ),
        (
            kinds.ENDPOINTS,
            {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(1, 6)], "ports": [{"port": 80}]}]},
            {"Endpoints": "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."},
        ),
        (kinds.SECRET, {"type": "Opaque", "data": {"a": "", "b": ""}}, {"Type": "Opaque", "Data": 2}),
    ],
)  # fmt: skip
def test_cells_of_common_kinds(kind: kinds.Kind, obj: dict[str, Any], expected: dict[str, Any]) -> None:
    """The cells a user knows by heart."""
    obj.setdefault("metadata", {}).update(name="x", creationTimestamp=CREATED)
    found = cells(kind, obj)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.resource)
def test_every_kind_prints_an_empty_object(kind: kinds.Kind) -> None:
    """A bare object never breaks a table, and each row has as many cells as columns."""
    cells(kind, {"metadata": {"name": "x"}})
