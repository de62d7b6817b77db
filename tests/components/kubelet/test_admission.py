"""Which Pods a node takes."""

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.kubelet.admission import Refusal, refusal
from kubeglass.components.kubelet.pod_resources import requests

CAPACITY = {"pods": 2, "cpu": 1000, "memory": 1 << 30}


def pod(cpu: str = "", name: str = "a", **spec) -> Pod:
    containers = [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu} if cpu else {}}}]
    return decode(Pod, {"metadata": {"name": name, "uid": name}, "spec": {"containers": containers, **spec}})


def test_fits():
    """What is left is enough."""
    assert refusal(pod("400m"), [pod("600m", "b")], CAPACITY) is None


def test_no_cpu_left():
    """Too little cpu is said with the figures, in upstream's words and units."""
    assert refusal(pod("500m"), [pod("600m", "b")], CAPACITY) == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 500, used: 600, capacity: 1000"
    )


def test_too_many_pods():
    """The number of Pods is a resource too."""
    found = refusal(pod(), [pod(name="b"), pod(name="c")], CAPACITY)
    assert found == Refusal("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2")


def test_what_the_node_does_not_have():
    """A resource that the node lacks altogether is refused."""
    extra = [{"name": "c", "image": "x", "resources": {"requests": {"example.com/gpu": "1"}}}]
    assert refusal(pod(containers=extra), [], CAPACITY).reason == "OutOfexample.com/gpu"


def test_init_containers_count_at_their_peak():
    """A big init container decides; sidecars add to both phases; overhead comes on top."""

    def part(name, cpu, **more):
        return {"name": name, "image": "x", "resources": {"requests": {"cpu": cpu}}, **more}

    init = [part("i", "300m"), part("s", "100m", restartPolicy="Always"), part("j", "700m")]
    assert requests(pod("200m", initContainers=init, overhead={"cpu": "50m"})) == {"cpu": 850}
    assert requests(pod("900m", initContainers=init)) == {"cpu": 1000}


async def test_a_refused_pod_fails(node, api):
    """The Pod is Failed with reason and message and an Event, and nothing was made for it."""
    api.apply(
        "{kind: Pod, metadata: {name: big}, spec: {containers: [{name: c, image: busybox, command: [sleep, '9'],"
        " resources: {requests: {cpu: '4000'}}}]}}"
    )
    async with node.running() as kubelet:
        await api.until(lambda: (api.pod("big") or {}).get("status", {}).get("phase") == "Failed")
        status = api.pod("big")["status"]
        assert status["reason"] == "OutOfcpu"
        assert status["message"].startswith(
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000000, used: 0, capacity: "
        )
        assert not status["containerStatuses"], "kubectl shows the reason only where no container waits"
        await api.until(lambda: api.events("OutOfcpu"))
        assert not await kubelet.runtime.list_pod_sandboxes()
