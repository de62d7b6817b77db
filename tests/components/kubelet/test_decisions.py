"""The pure parts of the kubelet: back-off, next steps, phase and conditions, probe streaks, environment."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.api.objects import Pod, Service, decode
from kubeglass.components.api.qos import qos_class
from kubeglass.components.kubelet.actions import ProbeVerdicts, compute, spec_hash
from kubeglass.components.kubelet.backoff import BackOff
from kubeglass.components.kubelet.environment import expand, field_value, resource_value, service_variables
from kubeglass.components.kubelet.observed import Observed, observe
from kubeglass.components.kubelet.pod_status import Knowledge, Waiting, generate
from kubeglass.components.kubelet.probes import Streak
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Sandbox, SandboxConfig, SandboxState

RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED
WELL = ProbeVerdicts(liveness=lambda i: None, startup=lambda i: None, started=lambda c, i: True)


def pod(*containers: str, init: tuple[Any, ...] = (), policy: str = "Always", **spec: Any) -> Pod:
    return decode(
        Pod,
        {
            "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {
                "restartPolicy": policy,
                "containers": [{"name": name, "image": "busybox"} for name in containers or ("a",)],
                "initContainers": [c if isinstance(c, dict) else {"name": c, "image": "busybox"} for c in init],
                **spec,
            },
        },
    )


def sandbox(ready: bool = True, attempt: int = 0) -> Sandbox:
    state = SandboxState.READY if ready else SandboxState.NOT_READY
    return Sandbox(f"s{attempt}", SandboxConfig("u", "default", "p", attempt), state, 1, "127.128.1.2")


def container(name: str, state: ContainerState, code: int = 0, attempt: int = 0, sandbox_id: str = "s0") -> Container:
    reason = ("Completed" if code == 0 else "Error") if state is EXITED else ""
    return Container(
        f"{name}-{attempt}", sandbox_id, "u", name, "docker.io/library/busybox:latest", "sha256:1", attempt, state, 1,
        started_at=1, finished_at=2 if state is EXITED else 0, exit_code=code, reason=reason,
    )  # fmt: skip


def seen(*containers: Container, ready: bool = True) -> Observed:
    return observe("u", [sandbox(ready)], containers)


def names(specs: Any) -> list[str]:
    return [spec.name for spec in specs]


# -- back-off -------------------------------------------------------------------------------------------------------


def test_back_off_doubles_to_five_minutes_and_forgets() -> None:
    """10, 20, 40 … 300 seconds after each end; a container that ran ten minutes starts afresh."""
    back_off, now, waits = BackOff(), 0.0, []
    for _ in range(8):
        ended = now
        waits.append(back_off.remaining("k", ended, ended))
        now = ended + waits[-1]
        assert back_off.remaining("k", ended, now) == 0
        back_off.next("k", ended, now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.remaining("k", now + 601, now + 601) == 0


# -- actions --------------------------------------------------------------------------------------------------------


def test_a_new_pod_gets_a_sandbox_and_its_first_step() -> None:
    """Without init containers all containers start; with them, the first init container."""
    actions = compute(pod("a", "b"), Observed(), WELL)
    assert (actions.create_sandbox, actions.kill_pod, names(actions.start)) == (True, False, ["a", "b"])
    actions = compute(pod(init=("i", "j")), Observed(), WELL)
    assert (names(actions.start_init), actions.start) == (["i"], [])


def test_a_lost_sandbox_is_made_anew_unless_never() -> None:
    """The next attempt of the sandbox starts all containers; a Pod that must not restart ends."""
    actions = compute(pod(), seen(container("a", EXITED, 137), ready=False), WELL)
    assert (actions.create_sandbox, actions.sandbox_attempt, names(actions.start)) == (True, 1, ["a"])
    actions = compute(pod(policy="Never"), seen(container("a", EXITED, 137), ready=False), WELL)
    assert (actions.create_sandbox, actions.kill_pod) == (False, True)


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restart_policies(policy: str, code: int, restarts: bool) -> None:
    """What ended is started again as the policy says; when nothing is left to run, the Pod is over."""
    actions = compute(pod(policy=policy), seen(container("a", EXITED, code)), WELL)
    assert (names(actions.start), actions.kill_pod) == (["a"] if restarts else [], not restarts)


def test_an_ephemeral_container_starts_once() -> None:
    """It starts in a running sandbox, whatever the others do, and never again; a Pod that is over starts none."""
    looked_into = pod("a", ephemeralContainers=[{"name": "e", "image": "busybox"}])
    assert names(compute(looked_into, seen(container("a", RUNNING)), WELL).start_ephemeral) == ["e"]
    assert names(compute(looked_into, seen(), WELL).start_ephemeral) == ["e"]
    for state in (RUNNING, EXITED):
        assert compute(looked_into, seen(container("a", RUNNING), container("e", state)), WELL).start_ephemeral == []
    assert compute(looked_into, Observed(), WELL).start_ephemeral == []
    over = pod("a", policy="Never", ephemeralContainers=[{"name": "e", "image": "busybox"}])
    assert compute(over, seen(container("a", EXITED)), WELL).start_ephemeral == []


def test_init_containers_come_one_after_the_other() -> None:
    """The next init container starts when the one before succeeded; a failed one is repeated, or fails the Pod."""
    two = pod(init=("i", "j"))
    assert names(compute(two, seen(container("i", RUNNING)), WELL).start_init) == []
    assert names(compute(two, seen(container("i", EXITED)), WELL).start_init) == ["j"]
    assert names(compute(two, seen(container("i", EXITED, 1)), WELL).start_init) == ["i"]
    assert compute(pod(init=("i",), policy="Never"), seen(container("i", EXITED, 1)), WELL).kill_pod
    assert names(compute(two, seen(container("i", EXITED), container("j", EXITED)), WELL).start) == ["a"]


def test_a_sidecar_must_have_started() -> None:
    """What follows a sidecar waits for its startup probe, and a sidecar that ended is started again."""
    beside = pod(init=({"name": "s", "image": "busybox", "restartPolicy": "Always"},))
    waiting = ProbeVerdicts(liveness=lambda i: None, startup=lambda i: None, started=lambda c, i: False)
    assert compute(beside, seen(container("s", RUNNING)), waiting).start == []
    assert names(compute(beside, seen(container("s", RUNNING)), WELL).start) == ["a"]
    actions = compute(beside, seen(container("s", EXITED), container("a", RUNNING)), WELL)
    assert names(actions.start_init) == ["s"]


def test_probes_and_changes_kill() -> None:
    """A failed liveness probe and a changed image end the container, with upstream's words."""
    failed = ProbeVerdicts(liveness=lambda i: False, startup=lambda i: None, started=lambda c, i: True)
    [kill] = compute(pod(), seen(container("a", RUNNING)), failed).kill
    assert kill.message == "Container a failed liveness probe, will be restarted"
    from dataclasses import replace

    old = replace(container("a", RUNNING), spec_hash="other")
    assert spec_hash(pod().spec.containers[0]) != "other"
    [kill] = compute(pod(), seen(old), WELL).kill
    assert kill.message == "Container a definition changed, will be restarted"


# -- status ---------------------------------------------------------------------------------------------------------


def status(made: Pod, observed: Observed, **known: Any) -> dict[str, Any]:
    return generate(made, observed, Knowledge("process", "127.64.0.1", **known), now=1_700_000_000.0)


@pytest.mark.parametrize(
    ("policy", "containers", "terminating", "phase"),
    [
        ("Always", [], False, "Pending"),
        ("Always", [("a", RUNNING, 0)], False, "Running"),
        ("Always", [("a", EXITED, 1)], False, "Running"),
        ("OnFailure", [("a", EXITED, 1)], False, "Running"),
        ("OnFailure", [("a", EXITED, 0)], False, "Succeeded"),
        ("Never", [("a", EXITED, 0)], False, "Succeeded"),
        ("Never", [("a", EXITED, 1)], False, "Failed"),
        ("Always", [("a", EXITED, 137)], True, "Failed"),
        ("Always", [("a", EXITED, 0)], True, "Succeeded"),
    ],
)
def test_phases(policy: str, containers: list[Any], terminating: bool, phase: str) -> None:
    """The phase follows from the containers and the restart policy."""
    observed = seen(*[container(name, state, code) for name, state, code in containers])
    assert status(pod(policy=policy), observed, terminating=terminating)["phase"] == phase


def test_a_waiting_container_shows_its_reason_and_its_last_end() -> None:
    """CrashLoopBackOff is the state, the end before it is lastState."""
    observed = seen(container("a", EXITED, 3, attempt=4))
    [shown] = status(pod(), observed, waiting={"a": Waiting("CrashLoopBackOff", "back-off")})["containerStatuses"]
    assert shown["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert shown["lastState"]["terminated"]["exitCode"] == 3
    assert (shown["restartCount"], shown["ready"], shown["started"]) == (4, False, False)


def test_an_ephemeral_container_is_reported_apart() -> None:
    """Its state stands in its own list; it makes nothing ready, and its end is no end of the Pod."""
    looked_into = pod("a", ephemeralContainers=[{"name": "e", "image": "busybox"}])
    shown = status(looked_into, seen(container("a", RUNNING), container("e", RUNNING)))
    [ephemeral] = shown["ephemeralContainerStatuses"]
    assert (ephemeral["name"], list(ephemeral["state"]), ephemeral["ready"]) == ("e", ["running"], False)
    shown = status(looked_into, seen(container("a", RUNNING), container("e", EXITED, 1)))
    [ephemeral] = shown["ephemeralContainerStatuses"]
    assert ephemeral["state"]["terminated"]["exitCode"] == 1
    assert shown["phase"] == "Running"
    assert all(condition["status"] == "True" for condition in shown["conditions"])


def test_conditions_say_what_is_missing() -> None:
    """Initialized, ContainersReady and Ready carry upstream's reasons and texts; readiness gates are named."""
    shown = {c["type"]: c for c in status(pod("a", "b", init=("i",)), seen())["conditions"]}
    assert shown["Initialized"]["message"] == "containers with incomplete status: [i]"
    assert shown["ContainersReady"]["message"] == "containers with unready status: [a b]"
    assert shown["Ready"]["reason"] == "ContainersNotReady"
    gated = pod(readinessGates=[{"conditionType": "x/y"}])
    shown = {c["type"]: c for c in status(gated, seen(container("a", RUNNING)))["conditions"]}
    assert shown["ContainersReady"]["status"] == "True"
    assert shown["Ready"]["reason"] == "ReadinessGatesNotReady"
    assert shown["Ready"]["message"] == 'corresponding condition of pod readiness gate "x/y" does not exist.'


def test_quality_of_service() -> None:
    """Guaranteed needs equal limits everywhere, BestEffort nothing anywhere."""

    def with_resources(**resources: Any) -> Pod:
        return decode(Pod, {"spec": {"containers": [{"name": "a", "resources": resources}]}})

    full = {"cpu": "1", "memory": "1Gi"}
    assert qos_class(with_resources()) == "BestEffort"
    assert qos_class(with_resources(limits=full)) == "Guaranteed"
    assert qos_class(with_resources(limits=full, requests={"cpu": "500m"})) == "Burstable"


# -- probes and environment -----------------------------------------------------------------------------------------


def test_streaks_need_their_thresholds() -> None:
    """A verdict changes after so many equal results in a row, and only then is it news."""
    streak = Streak(success_threshold=1, failure_threshold=3)
    assert [streak.add(ok) for ok in (True, False, False, True, False, False, False, False)] == [
        True, False, False, False, False, False, True, False,
    ]  # fmt: skip
    assert streak.verdict is False


def test_expansion() -> None:
    """$(NAME) is replaced, $$(NAME) escaped, unknown names stay."""
    assert expand("a $(X) $$(X) $(Y) $Z", {"X": "1"}) == "a 1 $(X) $(Y) $Z"


def test_service_variables() -> None:
    """A Service is named by host, port and protocol; headless ones and other namespaces are not."""

    def service(name: str, namespace: str, ip: str) -> Service:
        port = {"port": 8080, "name": "web-ui"}
        return decode(
            Service, {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": [port]}}
        )

    services = [
        service("my-app", "default", "127.96.0.7"),
        service("x", "other", "127.96.0.8"),
        service("h", "default", "None"),
    ]
    assert service_variables(services, "default") == {
        "MY_APP_SERVICE_HOST": "127.96.0.7",
        "MY_APP_SERVICE_PORT": "8080",
        "MY_APP_SERVICE_PORT_WEB_UI": "8080",
        "MY_APP_PORT": "tcp://127.96.0.7:8080",
        "MY_APP_PORT_8080_TCP": "tcp://127.96.0.7:8080",
        "MY_APP_PORT_8080_TCP_PROTO": "tcp",
        "MY_APP_PORT_8080_TCP_PORT": "8080",
        "MY_APP_PORT_8080_TCP_ADDR": "127.96.0.7",
    }


def test_downward_api() -> None:
    """Fields and resources of the Pod, limits falling back to the node's, divisors rounding up."""
    made = decode(
        Pod,
        {
            "metadata": {"name": "p", "labels": {"b": "2", "a": 'x"y'}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
        },
    )
    assert field_value(made, "metadata.labels['b']", pod_ip="", host_ip="") == "2"
    assert field_value(made, "metadata.labels", pod_ip="", host_ip="") == 'a="x\\"y"\nb="2"'
    assert field_value(made, "status.podIP", pod_ip="127.0.0.9", host_ip="") == "127.0.0.9"
    assert resource_value(made, "c", "limits.cpu", "", {}) == "2"
    assert resource_value(made, "c", "limits.cpu", "1m", {}) == "1500"
    assert resource_value(made, "c", "limits.memory", "1Mi", {"memory": "64Mi"}) == "64"
    assert resource_value(made, "c", "requests.memory", "", {}) == "0"
