"""What is said about objects, in the exposition's own words."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kubeglass.components.statemetrics.statemetrics import RESOURCES, samples
from kubeglass.telemetry.metrics.registry import Registry

LABEL = re.compile(r'\w+="[^"]*"')


def exposed(kind: str, *objs: dict[str, Any]) -> list[str]:
    """The sample lines about some objects of a kind."""
    resource = next(found for found in RESOURCES if found.kind.kind == kind)
    views = [msgspec.convert(obj, resource.view) for obj in objs]
    registry = Registry()
    registry.collect([family.row for family in resource.families], lambda: samples(resource, views))
    _, body = registry.expose()
    return [line for line in body.decode().splitlines() if line.startswith("kube_")]


def said(*lines: str) -> set[str]:
    """Lines with their labels in the order of the exposition."""
    return {re.sub(r"\{(.*)\}", lambda found: "{" + ",".join(sorted(LABEL.findall(found[1]))) + "}", x) for x in lines}


POD = {
    "metadata": {
        "name": "web-1",
        "namespace": "default",
        "uid": "u1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
    },
    "spec": {
        "nodeName": "node-1",
        "restartPolicy": "Always",
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"nvidia.com/gpu": "1"}},
            }
        ],
    },
    "status": {
        "phase": "Running",
        "qosClass": "Burstable",
        "podIP": "10.0.0.1",
        "hostIP": "192.168.0.1",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-02T03:04:06Z"}],
        "containerStatuses": [
            {
                "name": "c",
                "image": "nginx:latest",
                "imageID": "sha",
                "containerID": "process://1",
                "restartCount": 3,
                "ready": False,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
            }
        ],
    },
}
ID = 'namespace="default",pod="web-1",uid="u1"'


def test_a_pod() -> None:
    """A crash-looping Pod is described as kube-state-metrics does."""
    lines = set(exposed("Pod", POD))
    assert (
        said(
            f'kube_pod_info{{{ID},host_ip="192.168.0.1",pod_ip="10.0.0.1",node="node-1",created_by_kind="ReplicaSet",'
            'created_by_name="web",priority_class="",host_network="false"} 1',
            f'kube_pod_owner{{{ID},owner_kind="ReplicaSet",owner_name="web",owner_is_controller="true"}} 1',
            f'kube_pod_status_phase{{{ID},phase="Running"}} 1',
            f'kube_pod_status_phase{{{ID},phase="Failed"}} 0',
            f'kube_pod_status_ready{{{ID},condition="false"}} 1',
            f'kube_pod_status_ready{{{ID},condition="true"}} 0',
            f'kube_pod_container_status_waiting_reason{{{ID},container="c",reason="CrashLoopBackOff"}} 1',
            f'kube_pod_container_status_last_terminated_reason{{{ID},container="c",reason="Error"}} 1',
            f'kube_pod_container_status_restarts_total{{{ID},container="c"}} 3',
            f'kube_pod_container_resource_requests{{{ID},container="c",node="node-1",resource="cpu",unit="core"}} 0.1',
            f'kube_pod_container_resource_requests{{{ID},container="c",node="node-1",resource="memory",unit="byte"}} '
            "6.7108864e+07",
            f'kube_pod_container_resource_limits{{{ID},container="c",node="node-1",resource="nvidia_com_gpu",'
            'unit="integer"} 1',
        )
        <= lines
    )


def test_an_orphan_has_empty_owners() -> None:
    """No owner is the empty string."""
    orphan = {"metadata": {"name": "a", "namespace": "default", "uid": "u"}}
    line = 'kube_pod_owner{namespace="default",pod="a",uid="u",owner_kind="",owner_name="",owner_is_controller=""} 1'
    assert said(line) <= set(exposed("Pod", orphan))


def test_a_node() -> None:
    """Conditions are spread over three statuses, amounts carry their unit, roles come from labels."""
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
        "status": {
            "capacity": {"cpu": "2", "memory": "1Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "Unknown"}],
        },
    }
    lines = set(exposed("Node", node))
    assert (
        said(
            'kube_node_role{node="n",role="control-plane"} 1',
            'kube_node_spec_taint{node="n",key="k",value="v",effect="NoSchedule"} 1',
            'kube_node_status_condition{node="n",condition="Ready",status="unknown"} 1',
            'kube_node_status_condition{node="n",condition="Ready",status="true"} 0',
            'kube_node_status_capacity{node="n",resource="cpu",unit="core"} 2',
            'kube_node_status_capacity{node="n",resource="pods",unit="integer"} 110',
            'kube_node_spec_unschedulable{node="n"} 0',
        )
        <= lines
    )


def test_workloads() -> None:
    """Deployments, quotas and jobs say what alerts and dashboards ask for."""
    deployment = {
        "metadata": {"name": "web", "namespace": "default", "generation": 2},
        "spec": {"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "30%"}}},
        "status": {
            "replicas": 4,
            "observedGeneration": 2,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        },
    }
    name = 'namespace="default",deployment="web"'
    assert said(
        f"kube_deployment_spec_replicas{{{name}}} 4",
        f"kube_deployment_spec_strategy_rollingupdate_max_unavailable{{{name}}} 1",
        f'kube_deployment_status_condition{{{name},reason="NewReplicaSetAvailable",condition="Progressing",'
        'status="true"} 1',
    ) <= set(exposed("Deployment", deployment))
    quota = {
        "metadata": {"name": "q", "namespace": "default"},
        "status": {"hard": {"requests.cpu": "2"}, "used": {"requests.cpu": "500m"}},
    }
    line = 'kube_resourcequota{namespace="default",resourcequota="q",resource="requests.cpu",type="used"} 0.5'
    assert said(line) <= set(exposed("ResourceQuota", quota))
    job = {"metadata": {"name": "j", "namespace": "default"}, "status": {"failed": 0}}
    assert said('kube_job_status_failed{namespace="default",job_name="j",reason=""} 0') <= set(exposed("Job", job))


def test_every_kind_can_be_exposed_empty() -> None:
    """An object with nothing but a name breaks no metric, and no name is claimed twice."""
    registry = Registry()
    for resource in RESOURCES:
        obj = msgspec.convert({"metadata": {"name": "x", "namespace": "y"}}, resource.view)
        rows = [family.row for family in resource.families]
        found = list(samples(resource, [obj]))
        assert all(len(labels) == len(row.labels) for row, labels, _ in found)
        registry.collect(rows, lambda found=found: found)  # type: ignore[misc]
    assert registry.expose()[1]


def test_what_an_account_says_of_its_token() -> None:
    """`automount_token` is the account's own word, empty when it says nothing."""
    accounts = [
        {"metadata": {"name": name, "namespace": "d", "uid": name}} | said
        for name, said in (
            ("a", {}),
            ("b", {"automountServiceAccountToken": False}),
            ("c", {"automountServiceAccountToken": True}),
        )
    ]
    lines = [line for line in exposed("ServiceAccount", *accounts) if line.startswith("kube_serviceaccount_info")]
    assert set(lines) == said(
        'kube_serviceaccount_info{namespace="d",serviceaccount="a",uid="a",automount_token=""} 1',
        'kube_serviceaccount_info{namespace="d",serviceaccount="b",uid="b",automount_token="false"} 1',
        'kube_serviceaccount_info{namespace="d",serviceaccount="c",uid="c",automount_token="true"} 1',
    )
