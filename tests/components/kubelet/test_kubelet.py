"""The kubelet with real processes: what its pods do, and what it tells the API server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[3] / "examples"


def container(pod: dict[str, Any] | None, index: int = 0) -> dict[str, Any]:
    statuses = (pod or {}).get("status", {}).get("containerStatuses") or [{}]
    return statuses[index]


def condition(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return next((c for c in pod["status"].get("conditions", ()) if c["type"] == name), {})


def log_text(node: Any, pod: dict[str, Any], name: str, attempt: int = 0) -> str:
    meta = pod["metadata"]
    folder = node.config.root_dir / f"log/pods/{meta['namespace']}_{meta['name']}_{meta['uid']}"
    try:
        return (folder / name / f"{attempt}.log").read_text()
    except OSError:
        return ""


async def test_counter_pod_runs_and_logs(node: Any, api: Any) -> None:
    """The counter Pod becomes Ready with an address of its own, and its output is in the log."""
    pod = api.apply((EXAMPLES / "counter-pod.yaml").read_text())
    async with node.running():
        await api.until(lambda: condition(api.pod("counter"), "Ready").get("status") == "True")
        pod = api.pod("counter")
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["podIP"].startswith("127.143.7.")
        assert pod["status"]["qosClass"] == "BestEffort"
        assert container(pod)["containerID"].startswith("process://")
        assert [c["type"] for c in pod["status"]["conditions"]] == [
            "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
        ]  # fmt: skip
        await api.until(lambda: " stdout F 0: " in log_text(node, pod, "count"))
        reasons = [event["reason"] for event in api.events()]
        for reason in ("Pulling", "Pulled", "Created", "Started"):
            assert reason in reasons
        started = api.events("Started")[0]
        assert started["message"] == "Container started"
        assert started["involvedObject"]["fieldPath"] == "spec.containers{count}"
        assert started["source"] == {"component": "kubelet", "host": "node-1"}


async def test_sidecars_share_a_volume(node: Any, api: Any) -> None:
    """Two sidecars read what a third container writes into an emptyDir at /var/log."""
    pod = api.apply((EXAMPLES / "counter-pod-sidecars.yaml").read_text())
    async with node.running():
        await api.until(lambda: " stdout F 1: " in log_text(node, pod, "count-log-1"))
        await api.until(lambda: "INFO 1" in log_text(node, pod, "count-log-2"))


async def test_one_shot_pod_completes(node: Any, api: Any) -> None:
    """A Pod with restartPolicy Never ends as Succeeded with reason Completed, and its volumes are gone."""
    api.apply((EXAMPLES / "oneshot.yaml").read_text())
    async with node.running():
        await api.until(lambda: api.pod("oneshot")["status"]["phase"] == "Succeeded")
        await api.until(lambda: condition(api.pod("oneshot"), "Ready").get("reason"))
        pod = api.pod("oneshot")
        assert container(pod)["state"]["terminated"]["reason"] == "Completed"
        assert condition(pod, "Ready")["reason"] == "PodCompleted"
        assert " stdout F 3.1415" in log_text(node, pod, "pi")


async def test_crash_loop_backs_off(node: Any, api: Any) -> None:
    """A failing container is restarted at once, then after ten seconds; until then it waits as CrashLoopBackOff."""
    manifest = (EXAMPLES / "crashloop.yaml").read_text().replace("sleep 1; ", "")
    api.apply(manifest)
    async with node.running():
        await api.until(
            lambda: (
                "waiting" in container(api.pod("crashloop")).get("state", {})
                and container(api.pod("crashloop"))["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            )
        )
        pod = api.pod("crashloop")
        uid = pod["metadata"]["uid"]
        status = container(pod)
        assert status["state"]["waiting"]["message"] == (
            f"back-off 10s restarting failed container=crash pod=crashloop_default({uid})"
        )
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert status["lastState"]["terminated"]["reason"] == "Error"
        assert pod["status"]["phase"] == "Running"
        await api.until(lambda: api.events("BackOff"))
        assert api.events("BackOff")[0]["message"] == (
            f"Back-off restarting failed container crash in pod crashloop_default({uid})"
        )


async def test_unknown_image_is_never_faked(node: Any, api: Any) -> None:
    """An image outside the catalog gives ErrImagePull with the way to add it, then ImagePullBackOff."""
    api.apply(
        {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "example.com/x:1"}]}}
    )
    async with node.running():
        await api.until(
            lambda: container(api.pod("x")).get("state", {}).get("waiting", {}).get("reason") == "ErrImagePull"
        )
        assert "images.yaml" in container(api.pod("x"))["state"]["waiting"]["message"]
        texts = lambda: [e["message"] for e in api.events("Failed")]  # noqa: E731
        await api.until(lambda: "Error: ErrImagePull" in texts())
        assert any(message.startswith('Failed to pull image "example.com/x:1": ') for message in texts())
        waiting = await api.until(
            lambda: (w := container(api.pod("x"))["state"]["waiting"])["reason"] == "ImagePullBackOff" and w
        )
        assert waiting["message"].startswith('Back-off pulling image "example.com/x:1": ErrImagePull: ')


async def test_command_that_does_not_exist(node: Any, api: Any) -> None:
    """A missing program is a StartError with exit code 128."""
    spec = {"containers": [{"name": "x", "image": "busybox:1", "command": ["nosuch"]}]}
    api.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
    async with node.running():
        status = await api.until(lambda: (c := container(api.pod("x"))).get("lastState", {}).get("terminated") and c)
        assert status["lastState"]["terminated"]["exitCode"] == 128
        assert status["lastState"]["terminated"]["reason"] == "StartError"
        assert 'exec: "nosuch": executable file not found in $PATH' in status["lastState"]["terminated"]["message"]


async def test_graceful_termination(node: Any, api: Any) -> None:
    """A deleted Pod gets SIGTERM, ends with its own exit code, and leaves the API server and the disk."""
    command = ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while true; do sleep 0.1; done"]
    pod = api.apply(
        {
            "kind": "Pod",
            "metadata": {"name": "x"},
            "spec": {"containers": [{"name": "x", "image": "busybox:1", "command": command}]},
        }
    )
    seen: list[Any] = []
    async with node.running():
        await api.until(lambda: " F up" in log_text(node, pod, "x"))
        original = api.put
        api.put = lambda path, obj, **kw: (
            seen.append(obj) if path.endswith("/pods/x") else None,
            original(path, obj, **kw),
        )[1]
        api.delete_pod("x")
        await api.until(lambda: api.pod("x") is None)
        assert any(container(p).get("state", {}).get("terminated", {}).get("exitCode") == 7 for p in seen)
        assert api.events("Killing")[0]["message"] == "Stopping container x"
        assert not list((node.config.root_dir / "sandboxes").iterdir())
        assert not list((node.config.root_dir / "pods").iterdir())
        assert not list((node.config.root_dir / "log/pods").iterdir())


async def test_grace_period_ends_in_a_kill(node: Any, api: Any) -> None:
    """A shell as first process ignores SIGTERM, as in any container, and is killed when the grace period is over."""
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "x", "image": "busybox:1", "command": ["sh", "-c", "while true; do sleep 0.1; done"]}],
    }
    api.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
    async with node.running():
        await api.until(lambda: condition(api.pod("x"), "Ready").get("status") == "True")
        started = asyncio.get_running_loop().time()
        api.delete_pod("x")
        await api.until(lambda: api.pod("x") is None)
        assert 0.9 < asyncio.get_running_loop().time() - started < 5


async def test_containers_survive_the_kubelet(node: Any, api: Any) -> None:
    """A new kubelet adopts what the old one left running: same process, same container id, no restart."""
    api.apply((EXAMPLES / "counter-pod.yaml").read_text())
    async with node.running() as first:
        await api.until(lambda: condition(api.pod("counter"), "Ready").get("status") == "True")
        pid = (await first.runtime.list_containers())[0].pid
        before = container(api.pod("counter"))["containerID"]
    os.kill(pid, 0)
    async with node.running() as second:
        await asyncio.sleep(0.5)
        assert [c.pid for c in await second.runtime.list_containers()] == [pid]
        status = container(api.pod("counter"))
        assert (status["containerID"], status["restartCount"]) == (before, 0)
        assert condition(api.pod("counter"), "Ready")["status"] == "True"


async def test_killed_process_is_restarted(node: Any, api: Any) -> None:
    """Killing a container's process from outside raises its restart count; the old end is in lastState."""
    api.apply((EXAMPLES / "counter-pod.yaml").read_text())
    async with node.running() as kubelet:
        await api.until(lambda: condition(api.pod("counter"), "Ready").get("status") == "True")
        os.kill((await kubelet.runtime.list_containers())[0].pid, 9)
        await api.until(lambda: container(api.pod("counter")).get("restartCount") == 1)
        status = await api.until(lambda: (c := container(api.pod("counter")))["ready"] and c)
        assert status["lastState"]["terminated"]["exitCode"] == 137


async def test_lost_sandbox_is_made_anew(node: Any, api: Any) -> None:
    """A Pod whose shim was killed gets a new sandbox, and its containers count one restart."""
    api.apply((EXAMPLES / "counter-pod.yaml").read_text())
    async with node.running():
        await api.until(lambda: condition(api.pod("counter"), "Ready").get("status") == "True")
        [pid_file] = (node.config.root_dir / "sandboxes").glob("*/shim.pid")
        os.kill(int(pid_file.read_text()), 9)
        await api.until(lambda: container(api.pod("counter")).get("restartCount") == 1)
        await api.until(lambda: container(api.pod("counter"))["ready"])
        assert api.events("SandboxChanged")


async def test_init_containers_run_in_order(node: Any, api: Any) -> None:
    """Init containers run one after the other to their end, a sidecar beside the rest, then the main container."""
    mount = [{"name": "d", "mountPath": "/d"}]

    def run(name: str, text: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "busybox:1", "command": ["sh", "-c", text], "volumeMounts": mount, **more}

    spec = {
        "volumes": [{"name": "d", "emptyDir": {}}],
        "initContainers": [
            run("a", "echo a >> /d/f"),
            run("side", "echo side >> /d/f; sleep 100", restartPolicy="Always"),
            run("b", "sleep 0.3; echo b >> /d/f"),
        ],
        "containers": [run("main", "cat /d/f; sleep 100")],
        "terminationGracePeriodSeconds": 1,
    }
    pod = api.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
    async with node.running():
        await api.until(lambda: condition(api.pod("x"), "Ready").get("status") == "True")
        await api.until(lambda: log_text(node, pod, "main").count("\n") == 3)
        assert [line.split(" F ")[1] for line in log_text(node, pod, "main").splitlines()] == ["a", "side", "b"]
        init = api.pod("x")["status"]["initContainerStatuses"]
        assert [c["ready"] for c in init] == [True, True, True]
        assert "running" in init[1]["state"]
        assert condition(api.pod("x"), "Initialized")["status"] == "True"


async def test_configuration_reaches_the_container(node: Any, api: Any) -> None:
    """ConfigMaps, Secrets, the downward API, Services and the service account token are where a Pod expects them."""
    api.apply({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "from-map"}})
    api.apply({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "CA"}})
    api.apply({"kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "aHVzaA=="}})
    api.apply(
        {
            "kind": "Service",
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "127.96.0.9", "ports": [{"port": 5432, "name": "sql"}]},
        }
    )
    token = {
        "sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
    }
    script = (
        'echo "$MAPPED $SECRET $NAME $BOTH $MY_DB_SERVICE_HOST $MY_DB_PORT_5432_TCP $p $HOSTNAME"; '
        "cat /c/k /s/p; cd /var/run/secrets/kubernetes.io/serviceaccount; cat token ca.crt namespace; hostname; "
        "tail -1 /etc/hosts; echo done > /dev/termination-log"
    )
    spec = {
        "restartPolicy": "Never",
        "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}},
            {"name": "t", "projected": token},
        ],
        "containers": [{
            "name": "x", "image": "busybox:1", "command": ["sh", "-c", script],
            "env": [
                {"name": "MAPPED", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "BOTH", "value": "$(NAME)-$(MAPPED)"},
            ],
            "envFrom": [{"secretRef": {"name": "s"}}],
            "volumeMounts": [{"name": "c", "mountPath": "/c"}, {"name": "s", "mountPath": "/s"},
                {"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            ],
        }],
    }  # fmt: skip
    pod = api.apply({"kind": "Pod", "metadata": {"name": "web-0"}, "spec": spec})
    async with node.running():
        await api.until(lambda: api.pod("web-0")["status"]["phase"] == "Succeeded")
        text = "\n".join(line.split(" ", 3)[3] for line in log_text(node, pod, "x").splitlines())
        ip = api.pod("web-0")["status"]["podIP"]
        assert text.startswith("from-map hush web-0 web-0-from-map 127.96.0.9 tcp://127.96.0.9:5432 hush web-0\n")
        assert "from-maphushtoken-of-defaultCAdefaultweb-0\n" in text
        assert text.endswith(f"{ip}\tweb-0")
        assert container(api.pod("web-0"))["state"]["terminated"]["message"] == "done\n"


async def test_missing_config_map_holds_the_pod(node: Any, api: Any) -> None:
    """A Pod that refers to a missing ConfigMap waits, says so in an event, and starts once it exists."""
    spec = {
        "containers": [
            {
                "name": "x",
                "image": "busybox:1",
                "command": ["sleep", "100"],
                "volumeMounts": [{"name": "c", "mountPath": "/c"}],
            }
        ],
        "volumes": [{"name": "c", "configMap": {"name": "late"}}],
    }
    api.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
    async with node.running():
        failed = await api.until(lambda: api.events("FailedMount"))
        assert failed[0]["message"] == 'MountVolume.SetUp failed for volume "c" : configmap "late" not found'
        assert container(api.pod("x"))["state"]["waiting"]["reason"] == "ContainerCreating"
        api.apply({"kind": "ConfigMap", "metadata": {"name": "late"}, "data": {}})
        await api.until(lambda: container(api.pod("x"))["ready"])


async def test_liveness_probe_restarts(node: Any, api: Any) -> None:
    """A failing liveness probe is told in an event and restarts the container."""
    probe = {"exec": {"command": ["sh", "-c", "echo not well; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "x", "image": "busybox:1", "command": ["sleep", "100"], "livenessProbe": probe}],
    }
    api.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
    async with node.running():
        await api.until(lambda: container(api.pod("x")).get("restartCount", 0) >= 1)
        assert api.events("Unhealthy")[0]["message"] == "Liveness probe failed: not well\n"
        assert "Container x failed liveness probe, will be restarted" in [e["message"] for e in api.events("Killing")]


async def test_readiness_probe_gates_ready(node: Any, api: Any) -> None:
    """nginx answers its readiness probe over HTTP on the Pod's own address; a wrong path keeps another Pod unready."""

    def spec(path: str) -> dict[str, Any]:
        probe = {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1}
        ports = [{"containerPort": 80, "name": "http"}]
        nginx = {"name": "x", "image": "nginx", "ports": ports, "readinessProbe": probe}
        return {"terminationGracePeriodSeconds": 1, "containers": [nginx]}

    api.apply({"kind": "Pod", "metadata": {"name": "good"}, "spec": spec("/")})
    api.apply({"kind": "Pod", "metadata": {"name": "bad"}, "spec": spec("/missing")})
    async with node.running() as kubelet:
        await api.until(lambda: condition(api.pod("good"), "Ready").get("status") == "True")
        await api.until(
            lambda: any(
                e["message"] == "Readiness probe failed: HTTP probe failed with statuscode: 404"
                for e in api.events("Unhealthy")
            )
        )
        ready = condition(api.pod("bad"), "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
        assert ready["message"] == "containers with unready status: [x]"
        assert kubelet.probe_registry.value(
            "prober_probe_total",
            probe_type="Readiness",
            result="successful",
            container="x",
            pod="good",
            namespace="default",
            pod_uid=api.pod("good")["metadata"]["uid"],
        )


async def test_node_is_registered_and_renews_its_lease(node: Any, api: Any) -> None:
    """The Node is Ready with what the machine has, and its Lease is renewed in kube-node-lease."""
    async with node.running():
        found = await api.until(lambda: api.objects.get("/api/v1/nodes/node-1"))
        ready = condition(found, "Ready")
        assert (ready["status"], ready["reason"], ready["message"]) == (
            "True",
            "KubeletReady",
            "kubelet is posting ready status",
        )
        assert found["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.2+kubeglass"
        assert found["status"]["capacity"]["pods"] == "110"
        assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
        lease = await api.until(
            lambda: api.objects.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1")
        )
        assert lease["spec"]["holderIdentity"] == "node-1"
        assert lease["spec"]["leaseDurationSeconds"] == 40


async def test_a_node_given_up_by_others_says_at_once_that_it_is_there(node: Any, api: Any) -> None:
    """Conditions that the node controller set to Unknown are put right at the next look, not at the next heartbeat."""
    path = "/api/v1/nodes/node-1"
    async with node.running(node_status_update_seconds=0.1):
        found = await api.until(lambda: api.objects.get(path))
        before = condition(found, "Ready")
        unknown = {**before, "status": "Unknown", "reason": "NodeStatusUnknown"}
        others = [c for c in found["status"]["conditions"] if c["type"] != "Ready"]
        api.put(path, {**found, "status": {**found["status"], "conditions": [*others, unknown]}}, created=False)
        await api.until(lambda: condition(api.objects[path], "Ready")["status"] == "True", 5)
        assert condition(api.objects[path], "Ready")["reason"] == "KubeletReady"
        await api.until(lambda: api.events("NodeReady"), 5)
