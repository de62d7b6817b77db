"""Each metric of the kubelet moves at its moment: a Pod starts, fails its probe, crashes, cannot start, is evicted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.kubelet import eviction

STARTS = """
kubelet_started_pods_total                                                          +1
kubelet_started_containers_total{container_type="init_container"}                   +1
kubelet_started_containers_total{container_type="container"}                        +1
kubelet_pod_worker_start_duration_seconds_count                                     +1
kubelet_pod_worker_duration_seconds_count{operation_type="create"}                  +1
kubelet_pod_worker_duration_seconds_count{operation_type="sync"}                    +
kubelet_pod_start_duration_seconds_count                                            +1
kubelet_pod_start_total_duration_seconds_count                                      +1
kubelet_pod_start_sli_duration_seconds_count                                        +1
kubelet_pod_status_sync_duration_seconds_count                                      +
kubelet_containers_per_pod_count_count                                              +1
kubelet_runtime_operations_total{operation_type="run_podsandbox"}                   +1
kubelet_runtime_operations_total{operation_type="create_container"}                 +2
kubelet_runtime_operations_total{operation_type="start_container"}                  +2
kubelet_runtime_operations_total{operation_type="pull_image"}                       +2
kubelet_runtime_operations_duration_seconds_count{operation_type="run_podsandbox"}  +1
kubelet_run_podsandbox_duration_seconds_count{runtime_handler=""}                   +1
kubelet_image_pull_duration_seconds_count{image_size_in_bytes="0-10MB"}             +2
kubelet_image_manager_ensure_image_requests_total                                   +2
storage_operation_duration_seconds_count{volume_plugin="kubernetes.io/empty-dir",operation_name="volume_mount"} +
volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="actual_state_of_world"}  =1
volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="desired_state_of_world"} =1
kubelet_running_pods                                                                =1
kubelet_running_containers{container_state="running"}                               =1
kubelet_desired_pods                                                                =1
kubelet_active_pods                                                                 =1
kubelet_working_pods{lifecycle="sync",config="desired",static=""}                   =1
kubelet_pleg_relist_duration_seconds_count                                          +
kubelet_pleg_relist_interval_seconds_count                                          +
kubelet_terminated_containers_total{container_type="init_container",exit_code="0",reason="Completed"} +1
"""

ENDS = """
kubelet_pod_worker_duration_seconds_count{operation_type="kill"}                    +1
kubelet_pod_worker_duration_seconds_count{operation_type="terminated"}              +1
kubelet_runtime_operations_total{operation_type="stop_podsandbox"}                  +
kubelet_runtime_operations_total{operation_type="remove_podsandbox"}                +
kubelet_running_pods                                                                =0
kubelet_running_containers{container_state="running"}                               =0
"""


def pod(name: str, script: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A manifest of one shell."""
    main = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script], **(container or {})}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": [main], **spec}}


async def test_a_pod_starts_and_ends(node: Any, api: Any) -> None:
    """Sandbox, image, init container, container, volume: each is counted once on the way up, and the end as well."""
    init = {"name": "first", "image": "busybox:1.36", "command": ["true"]}
    main = {"imagePullPolicy": "Always", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    volumes = [{"name": "scratch", "emptyDir": {}}]
    async with node.running():
        moments = Moments(node.telemetry.metrics)
        api.apply(pod("web", "sleep 100", main, initContainers=[init], volumes=volumes))
        await moments.until_moved(STARTS)
        moments = Moments(node.telemetry.metrics)
        api.delete_pod("web", grace=1)
        await moments.until_moved(ENDS)


async def test_control_groups_are_timed(node: Any, api: Any) -> None:
    """Three for the node, one per Pod; the classes are set as it starts and ends, its own as it is resized."""
    async with node.running() as kubelet:
        if not kubelet._groups.per_pod:
            pytest.skip("this host lets nobody make control groups (needs root and writable /sys/fs/cgroup)")
        operations = 'kubelet_cgroup_manager_duration_seconds_count{operation_type="%s"}'
        create, update, destroy = (operations % name for name in ("create", "update", "destroy"))
        assert node.telemetry.metrics.value(create.partition("{")[0], operation_type="create") == 3
        moments = Moments(node.telemetry.metrics)
        api.apply(pod("web", "sleep 100", {"resources": {"requests": {"cpu": "100m"}}}))
        await api.until(lambda: api.pod("web")["status"]["phase"] == "Running")
        moments.assert_moved(f"{create} +1\n{update} +3\n{destroy} +0")
        resized = copy.deepcopy(api.pod("web"))
        resized["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m"
        api.put("/api/v1/namespaces/default/pods/web", resized, created=False)
        await moments.until_moved(f"{create} +1\n{update} +4")
        api.delete_pod("web", grace=1)
        await moments.until_moved(f"{create} +1\n{update} +7\n{destroy} +1")


async def test_the_node_says_who_it_is(node: Any, api: Any) -> None:
    """The gauges of a kubelet's start, and its answer to a request."""
    moments = Moments()
    async with node.running():
        moments = Moments(node.telemetry.metrics)
        await moments.until_moved(
            """
            kubelet_node_name{node="node-1"}                            =1
            kubelet_metrics_provider{provider="cadvisor"}               =1
            kubelet_mirror_pods                                         =0
            kubelet_managed_ephemeral_containers                        =0
            """
        )
        for name in ("registration", "pre_kubelet", "pre_registration"):
            assert (node.telemetry.metrics.value(f"kubelet_node_startup_{name}_duration_seconds") or 0) >= 0


async def test_an_ephemeral_container_is_counted(node: Any, api: Any) -> None:
    """Its start and its end under its own type; how many there are is stated at housekeeping."""
    debugger = {"name": "debugger", "image": "busybox:1.36", "command": ["true"]}
    async with node.running():
        moments = Moments(node.telemetry.metrics)
        api.apply(pod("looked-into", "sleep 100", terminationGracePeriodSeconds=1, ephemeralContainers=[debugger]))
        await moments.until_moved(
            """
            kubelet_started_containers_total{container_type="ephemeral_container"}     +1
            kubelet_terminated_containers_total{container_type="ephemeral_container"}  +1
            kubelet_managed_ephemeral_containers                                       =1
            """
        )


async def test_a_failed_probe_restarts_the_container(node: Any, api: Any) -> None:
    """Failures and successes by type of probe; durations for successes only; then an end and a second start."""
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    main = {"livenessProbe": probe, "readinessProbe": {**probe, "exec": {"command": ["true"]}}}
    async with node.running() as kubelet:
        moments = Moments(node.telemetry.metrics, kubelet.probe_registry)
        api.apply(pod("probed", "sleep 100", main, terminationGracePeriodSeconds=1))
        who = 'container="main",pod="probed",namespace="default"'
        await moments.until_moved(
            f"""
            prober_probe_total{{probe_type="Liveness",result="failed",{who}}}         +
            prober_probe_total{{probe_type="Readiness",result="successful",{who}}}    +
            prober_probe_duration_seconds_count{{probe_type="Readiness",{who}}}       +
            prober_probe_duration_seconds_count{{probe_type="Liveness",{who}}}        +0
            """
        )
        await moments.until_moved(
            """
            kubelet_started_containers_total{container_type="container"}         +2
            kubelet_terminated_containers_total{container_type="container"}      +1
            kubelet_runtime_operations_total{operation_type="stop_container"}    +
            kubelet_runtime_operations_total{operation_type="exec_sync"}         +
            kubelet_started_pods_total                                           +1
            """
        )
        api.delete_pod("probed", grace=1)
        await moments.until_moved('prober_probe_total{pod="probed"} =0')


async def test_what_cannot_start_is_counted_with_its_reason(node: Any, api: Any) -> None:
    """An image nobody has, a Secret that is not there: a start that failed, and for the image a failed operation."""
    secret = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "a"}}}]}
    async with node.running():
        moments = Moments(node.telemetry.metrics)
        api.apply(pod("imageless", "true", {"image": "nobody/has-this:1"}))
        api.apply(pod("secretless", "true", secret))
        await moments.until_moved(
            """
            kubelet_started_containers_errors_total{container_type="container",code="ErrImagePull"}               +
            kubelet_started_containers_errors_total{container_type="container",code="CreateContainerConfigError"} +
            kubelet_runtime_operations_errors_total{operation_type="pull_image"}                                  +
            """
        )


async def test_a_sandbox_that_cannot_be_made_is_counted(node: Any, api: Any, tmp_path: Path) -> None:
    """Without a network there is no sandbox: the Pod was tried and failed, no container was."""
    (tmp_path / "cni").mkdir()
    async with node.running(cni_conf_dir=tmp_path / "cni"):
        moments = Moments(node.telemetry.metrics)
        api.apply(pod("offline", "true"))
        await moments.until_moved(
            """
            kubelet_started_pods_total          +
            kubelet_started_pods_errors_total   +
            kubelet_started_containers_total    +0
            """
        )


@pytest.mark.parametrize(
    ("signal", "limited"),
    [
        (
            eviction.EMPTY_DIR,
            pod(
                "greedy",
                "head -c 40000 /dev/zero > /scratch/big; sleep 100",
                {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]},
                volumes=[{"name": "scratch", "emptyDir": {"sizeLimit": "10k"}}],
            ),
        ),
        (
            eviction.POD,
            pod(
                "greedy",
                "head -c 40000 /dev/zero | tr '\\0' 'x' | fold -w 100; sleep 100",
                {"resources": {"limits": {"ephemeral-storage": "10k"}}},
            ),
        ),
    ],
    ids=["emptyDir", "ephemeral-storage"],
)
async def test_an_eviction_is_counted_by_its_signal(
    node: Any, api: Any, monkeypatch: pytest.MonkeyPatch, signal: str, limited: dict[str, Any]
) -> None:
    """A Pod writes more than it may: it fails as Evicted, ends, and is counted once."""
    monkeypatch.setattr(eviction, "PERIOD_SECONDS", 0.2)
    async with node.running():
        moments = Moments(node.telemetry.metrics)
        api.apply(limited)
        await moments.until_moved(f'kubelet_evictions{{eviction_signal="{signal}"}} +1')
        await api.until(lambda: api.pod("greedy")["status"]["phase"] == "Failed")
        status = api.pod("greedy")["status"]
        assert status["reason"] == "Evicted"
        assert "exceeds" in status["message"]
        disrupted = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
        assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
        assert [event["message"] for event in api.events("Evicted")] == [status["message"]]
        await moments.until_moved("kubelet_running_pods =0")
        moments.assert_moved("kubelet_evictions +1")
