"""Simulated nodes: what they register, and how their Pods pass through life."""

import argparse

import pytest

from kubeglass.components.api.objects import Node, Pod, decode
from kubeglass.components.kubelet.fleet.addresses import Addresses
from kubeglass.components.kubelet.fleet.fleet import add_flags, node_shape
from kubeglass.components.kubelet.fleet.nodes import node_name, node_object
from kubeglass.components.kubelet.fleet.pods import next_step
from kubeglass.components.kubelet.fleet.refusals import refusal
from kubeglass.components.machinery.loopback import AddressPlan
from kubeglass.components.machinery.process import ConfigError

NOW = 1_800_000_000.0
STARTED = "2027-01-15T08:00:00Z"  # NOW
HOST, IP = "127.64.255.254", "127.192.0.130"


def shape(*argv: str):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    parser.add_argument("--secure-port", type=int, default=10250)
    return node_shape(parser.parse_args(argv))


def pod(phase: str = "Pending", **changes) -> Pod:
    metadata = {"name": "a", "namespace": "default", "uid": "u1", **changes.pop("metadata", {})}
    spec = {"nodeName": "kubeglass-sim-0001", "containers": [{"name": "c", "image": "example.com/app:v1"}]}
    status = {"phase": phase, **({"startTime": STARTED} if phase == "Running" else {})}
    return decode(Pod, {"metadata": metadata, "spec": {**spec, **changes}, "status": status})


class TestNodes:
    """What the API server is told."""

    def test_says_that_it_is_simulated(self):
        """Label, annotation, taint and runtime all say so, and the node is Ready."""
        wire = node_object(1, shape(), "127.192.0.128/25", STARTED)
        node = decode(Node, wire)
        assert node.metadata.name == "kubeglass-sim-0001"
        assert node.metadata.labels["kubeglass.io/runtime"] == "simulated"
        assert node.metadata.annotations == {"kubeglass.io/simulated": "true"}
        assert [(t.key, t.value, t.effect) for t in node.spec.taints] == [
            ("kubeglass.io/simulated", "true", "NoSchedule")
        ]
        assert node.status.node_info.container_runtime_version.startswith("simulated://")
        assert {c.type: c.status for c in node.status.conditions}["Ready"] == "True"
        assert node.status.allocatable["cpu"] == "8"

    def test_zones_take_turns(self):
        """Nodes are spread evenly over the zones."""
        zones = [
            node_object(i, shape("--zones=2"), "", STARTED)["metadata"]["labels"]["topology.kubernetes.io/zone"]
            for i in (1, 2, 3)
        ]
        assert zones == ["kubeglass-a", "kubeglass-b", "kubeglass-a"]

    def test_names_sort(self):
        """Names are padded, so that lists are in order."""
        assert node_name(12) == "kubeglass-sim-0012"

    def test_ranges_of_nodes_and_clusters_are_apart(self):
        """No two simulated nodes share Pod addresses, whatever their clusters."""
        ranges = [AddressPlan(slot).simulated_pod_cidr(i) for slot in (0, 1, 15) for i in (1, 2, 2047)]
        assert len(set(ranges)) == len(ranges)
        assert ranges[:3] == ["127.192.0.128/25", "127.192.1.0/25", "127.195.255.128/25"]

    @pytest.mark.parametrize("flag", ["--nodes=0", "--nodes=9999", "--zones=0", "--node-capacity=cpu=x",
                                      "--node-capacity=cpu", "--register-with-taints=a=b:Never"])  # fmt: skip
    def test_refuses_bad_flags(self, flag):
        """A flag it cannot work with is named."""
        with pytest.raises(ConfigError, match=flag.split("=")[0]):
            shape(flag)


class TestPods:
    """One Pod on a simulated node."""

    def test_runs_at_once(self):
        """A bound Pod is Running and Ready in one step, whatever its image."""
        step = next_step(pod(), IP, HOST, NOW)
        assert step.status["phase"] == "Running"
        assert step.status["podIP"] == IP
        assert {c["type"]: c["status"] for c in step.status["conditions"]}["Ready"] == "True"
        status = step.status["containerStatuses"][0]
        assert status["state"] == {"running": {"startedAt": STARTED}}
        assert status["containerID"].startswith("simulated://")

    def test_init_containers_are_over(self):
        """Init containers have completed, sidecars run."""
        init = [{"name": "i", "image": "x"}, {"name": "s", "image": "x", "restartPolicy": "Always"}]
        step = next_step(pod(initContainers=init), IP, HOST, NOW)
        states = {s["name"]: next(iter(s["state"])) for s in step.status["initContainerStatuses"]}
        assert states == {"i": "terminated", "s": "running"}

    def test_runs_on(self):
        """A running service needs nothing more."""
        assert next_step(pod("Running"), IP, HOST, NOW + 1e6) == type(next_step(pod("Succeeded"), IP, HOST, NOW))()

    def test_ends_as_told(self):
        """With a time and an exit code in its annotations it waits, then fails with that code."""
        told = {
            "annotations": {
                "kubeglass.io/simulated-run-seconds": "30",
                "kubeglass.io/simulated-exit-code": "3",
            }
        }
        running = pod("Running", metadata=told, restartPolicy="Never")
        assert next_step(running, IP, HOST, NOW + 10).again_after_seconds == 20
        status = next_step(running, IP, HOST, NOW + 31).status
        assert status["phase"] == "Failed"
        assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3

    def test_job_pods_complete(self):
        """The Pod of a Job succeeds after a second."""
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": True}
        job = {"ownerReferences": [owner]}
        assert next_step(pod(metadata=job, restartPolicy="Never"), IP, HOST, NOW).again_after_seconds == 1.0
        running = pod("Running", metadata=job, restartPolicy="Never")
        assert next_step(running, IP, HOST, NOW + 2).status["phase"] == "Succeeded"

    def test_a_deleted_pod_goes(self):
        """Nothing has to be waited for."""
        assert next_step(pod("Running", metadata={"deletionTimestamp": STARTED}), IP, HOST, NOW).delete

    def test_a_bad_image_name_waits(self):
        """Even a simulation refuses what no registry would accept."""
        step = next_step(pod(containers=[{"name": "c", "image": "Bad//Name"}]), IP, HOST, NOW)
        assert step.status["phase"] == "Pending"
        assert step.status["containerStatuses"][0]["state"]["waiting"]["reason"] == "InvalidImageName"


class TestAddresses:
    """Pod addresses of one node."""

    def test_each_pod_has_its_own(self):
        """Addresses differ, and a Pod keeps its own."""
        addresses = Addresses("127.192.0.128/25")
        assert [addresses.take("a"), addresses.take("b"), addresses.take("a")] == [
            "127.192.0.130", "127.192.0.131", "127.192.0.130",
        ]  # fmt: skip

    def test_adopted_ones_are_not_given_again(self):
        """After a restart, what Pods hold is taken."""
        addresses = Addresses("127.192.0.128/25")
        addresses.adopt("a", "127.192.0.130")
        assert addresses.take("b") == "127.192.0.131"

    def test_all_taken(self):
        """A full node says so; a released address serves again."""
        addresses = Addresses("127.192.0.128/29")
        for uid in "abcde":
            addresses.take(uid)
        with pytest.raises(LookupError):
            addresses.take("f")
        addresses.release("c")
        assert addresses.take("f") == "127.192.0.132"


class TestRefusals:
    """What wants a process is told that there is none."""

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (
                "/containerLogs/default/web-1/app",
                'container "app" in pod "web-1" is simulated: no process runs, so it has no logs',
            ),
            (
                "/exec/default/web-1/app",
                'container "app" in pod "web-1" is simulated: no process runs, '
                "so there is none to execute a command in",
            ),
            (
                "/attach/default/web-1/app",
                'container "app" in pod "web-1" is simulated: no process runs, so there is none to attach to',
            ),
            (
                "/portForward/default/web-1",
                'pod "web-1" is simulated: no process runs, so nothing listens on its ports',
            ),
            ("/pods", ""),
            ("/containerLogs", ""),
        ],
    )
    def test_says_what_and_why(self, path: str, text: str):
        """Container and Pod are named; other paths are not answered."""
        assert refusal(path) == text
