"""Changes as users make them, each with the moment it was asked for and the moment it was seen to be settled.

`Changes.run` makes `count` random changes, several at once, over a real API, and gives a Record of each. The client has
a tracer like any other component, so a change's trace begins with the client's own request. Beside the changes it makes
control writes, which show how late it sees anything at all.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from kubeglass.components.api.kinds import CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, JOB, NODE, POD, SERVICE, Kind
from kubeglass.components.apiserver.testing import quiet_telemetry
from kubeglass.components.machinery.access import load_kubeconfig
from kubeglass.components.machinery.client import Client
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer
from kubeglass.telemetry.tracing.tracer import Tracer

T = TypeVar("T")
Object = dict[str, Any]
SETTLED_WITHIN_SECONDS = 60.0
SERVICE_NAME = "changes"
_FOLLOWED = (DEPLOYMENT, POD, SERVICE, ENDPOINT_SLICE, JOB, CONFIG_MAP)
_CONTROL = "control"
_CONTROL_SECONDS = 0.05
_MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Record:
    """One change. `cause` is the client's span of its request, the root of the trace; times are seconds since the
    epoch: `asked` just before the request, `settled` when the watch event that shows the settled state arrived.
    That state is one of the object `name`, of `kind`; `wanted` names spans that it cannot do without."""

    what: str
    cause: SpanContext
    asked: float
    settled: float
    wanted: frozenset[str]
    kind: Kind
    name: str

    @property
    def wall_seconds(self) -> float:
        return self.settled - self.asked


@dataclass(frozen=True, slots=True)
class Control:
    """A write that nobody reacts to, and when the client's watch showed it."""

    cause: SpanContext
    seen: float


class World:
    """The objects of a namespace as a watch shows them, and when they came to be so."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._objects: dict[tuple[str, str], Object] = {}
        self._news = asyncio.Event()
        self._arrived = 0.0

    async def follow(self, kind: Kind, ready: Callable[[], None]) -> None:
        """Keep up with one kind until cancelled."""
        page = await self._client.list(kind, self._namespace)
        version = page.resource_version
        ready()
        while True:
            async for event in self._client.watch(kind, self._namespace, resource_version=version):
                version = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                key = (kind.plural, event.object["metadata"]["name"])
                if event.type == "DELETED":
                    self._objects.pop(key, None)
                else:
                    self._objects[key] = event.object
                self._arrived = time.time()
                self._news.set()
                self._news = asyncio.Event()

    def get(self, kind: Kind, name: str) -> Object:
        """The object, {} when there is none."""
        return self._objects.get((kind.plural, name), {})

    def shows(self, kind: Kind, written: Object) -> bool:
        """Whether the watch has come to what was written."""
        meta = written["metadata"]
        return _version(self.get(kind, meta["name"])) >= _version(written)

    def slices_of(self, service: str) -> list[Object]:
        label = "kubernetes.io/service-name"
        found = (obj for (plural, _), obj in self._objects.items() if plural == ENDPOINT_SLICE.plural)
        return [obj for obj in found if (obj["metadata"].get("labels") or {}).get(label) == service]

    async def until(self, condition: Callable[[], bool], what: str) -> float:
        """When the event arrived with which the condition came to hold."""
        try:
            async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
                while not condition():
                    await self._news.wait()
        except TimeoutError as error:
            raise AssertionError(f"{what} did not settle within {SETTLED_WITHIN_SECONDS:.0f} s") from error
        return self._arrived


@dataclass(slots=True)
class Changes:
    """The changes that can be made, and those that were."""

    client: Client
    world: World
    namespace: str
    nodes: list[str]
    choice: random.Random
    tracer: Tracer
    records: list[Record] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    _names: int = 0

    async def run(self, count: int, at_once: int = 4) -> list[Record]:
        """Make `count` changes, and control writes all the while."""
        kinds = (
            self.deployment_life, self.deployment_life, self.bare_pod, self.short_pod, self.job, self.service_life,
            self.late_probe, self.unschedulable,
        )  # fmt: skip
        turn = iter(range(10**9))

        async def worker() -> None:
            while len(self.records) < count:
                await kinds[next(turn) % len(kinds)]()

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as workers:
                for _ in range(at_once):
                    workers.create_task(worker())

        await self.controlled(all_of_them())
        return self.records[:count]

    async def controlled(self, changes: Awaitable[T]) -> T:
        """Await changes, making control writes all the while."""
        async with asyncio.TaskGroup() as group:
            control = group.create_task(self._control())
            made = await changes
            control.cancel()
        return made

    async def _control(self) -> None:
        await self.client.create(CONFIG_MAP, {"metadata": {"name": _CONTROL}}, self.namespace)
        for turn in itertools.count():
            with self.tracer.span("control write") as span:
                written = await self.client.patch(CONFIG_MAP, _CONTROL, {"data": {"turn": str(turn)}}, self.namespace)
            shown = lambda w=written: self.world.shows(CONFIG_MAP, w)  # noqa: E731
            self.controls.append(Control(span.context, await self.world.until(shown, _CONTROL)))
            await asyncio.sleep(_CONTROL_SECONDS)

    # -- the changes --------------------------------------------------------------------------------------------------

    async def deployment_life(self) -> None:
        """Create, scale, a new image, back to the old one, and away."""
        name = self._name("web")
        wanted = frozenset({"reconcile deployment", "reconcile replicaset", "Schedule", "syncPod"})
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": _deployment(name)}
        await self._make("create deployment", DEPLOYMENT, "", body, lambda: self._rolled_out(name, 2), wanted)
        for what, change, replicas in (
            ("scale deployment", {"replicas": 3}, 3),
            ("update image", {"template": {"spec": {"containers": [_container(image="nginx:1.28")]}}}, 3),
            ("roll back", {"template": {"spec": {"containers": [_container()]}}}, 3),
        ):
            body = {"spec": change}
            await self._make(what, DEPLOYMENT, name, body, lambda n=replicas: self._rolled_out(name, n), wanted)
        await self.client.delete(DEPLOYMENT, name, self.namespace)

    async def bare_pod(self) -> None:
        name = self._name("bare")
        await self._pod(
            "create pod", name, {"containers": [_container()]}, lambda: _is_ready(self.world.get(POD, name))
        )

    async def short_pod(self) -> None:
        """A Pod that does its work and ends."""
        name = self._name("short")
        spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": ["true"]}]}
        await self._pod("run pod to its end", name, spec, lambda: self._phase(name) == "Succeeded")

    async def job(self) -> None:
        name = self._name("job")
        command = ["sleep", str(self.choice.choice((0, 1, 2)))]
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": command}]}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": {"spec": pod}},
        }
        done = lambda: _condition(self.world.get(JOB, name), "Complete")  # noqa: E731
        await self._make("run job", JOB, "", body, done, frozenset({"reconcile job", "Schedule", "syncPod"}))
        await self.client.delete(JOB, name, self.namespace, propagation_policy="Background")

    async def service_life(self) -> None:
        """A Service over two Pods is created, then moved to another port."""
        name = self._name("svc")
        spec = {"containers": [_container()]}
        pod = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        await self.client.create(POD, pod, self.namespace)
        await self.world.until(lambda: _is_ready(self.world.get(POD, name)), name)
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}
        wanted = frozenset({"reconcile endpointslice", "sync proxy rules"})
        watched = lambda: (ENDPOINT_SLICE, self.world.slices_of(name)[0]["metadata"]["name"])  # noqa: E731
        await self._make("create service", SERVICE, "", body, lambda: self._published(name, 80), wanted, watched)
        ports = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
        await self._make("change service", SERVICE, name, ports, lambda: self._published(name, 8080), wanted, watched)
        await self.client.delete(SERVICE, name, self.namespace)
        await self.client.delete(POD, name, self.namespace, grace_period_seconds=1)

    async def late_probe(self) -> None:
        """A readiness probe that fails at first."""
        name = self._name("late")
        container = {
            "name": "c", "image": "busybox", "command": ["sh", "-c", "sleep 2; touch /tmp/ok; sleep 600"],
            "readinessProbe": {
                "exec": {"command": ["test", "-f", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1,
            },
        }  # fmt: skip
        spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
        wanted = frozenset({"readiness probe"})
        await self._pod("probe that fails first", name, spec, lambda: _is_ready(self.world.get(POD, name)), wanted)

    async def unschedulable(self) -> None:
        """No node fits, until one is labelled."""
        name = self._name("picky")
        label = f"{self.namespace}-{name}"
        spec = {"containers": [_container()], "nodeSelector": {label: "yes"}}

        async def fix() -> None:
            await self.world.until(lambda: _condition(self.world.get(POD, name), "PodScheduled", "False"), name)
            labelled = {"metadata": {"labels": {label: "yes"}}}
            await self.client.patch(NODE, self.choice.choice(self.nodes), labelled)

        await self._pod(
            "unschedulable, then fixed", name, spec, lambda: _is_ready(self.world.get(POD, name)), after=fix
        )

    async def make_with_pod(self, what: str, kind: Kind, body: Object, pod: str, wanted: frozenset[str]) -> None:
        """Something of another kind, of which somebody makes a Pod."""
        ready = lambda: _is_ready(self.world.get(POD, pod))  # noqa: E731
        await self._make(what, kind, "", body, ready, wanted, lambda: (POD, pod))

    # -- making one ---------------------------------------------------------------------------------------------------

    async def _pod(
        self,
        what: str,
        name: str,
        spec: Object,
        settled: Callable[[], bool],
        wanted: frozenset[str] = frozenset(),
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        await self._make(what, POD, "", body, settled, wanted | {"Schedule", "syncPod"}, after=after)
        await self.client.delete(POD, name, self.namespace, grace_period_seconds=1)

    async def _make(
        self,
        what: str,
        kind: Kind,
        name: str,
        body: Object,
        settled: Callable[[], bool],
        wanted: frozenset[str],
        watched: Callable[[], tuple[Kind, str]] | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Ask, wait, record. With a name the body is a merge patch. `watched`: whose state shows that it is settled."""
        asked = time.time()
        with self.tracer.span(what) as span:
            if name:
                written = await self._send("PATCH", kind.path(self.namespace, name), body, _MERGE)
            else:
                written = await self._send("POST", kind.path(self.namespace), body, {})
        if after is not None:
            await after()
        asked_for = written["metadata"]["name"]
        seen = lambda: self.world.shows(kind, written) and settled()  # noqa: E731
        when = await self.world.until(seen, f"{what} {asked_for}")
        whose = watched() if watched is not None else (kind, asked_for)
        self.records.append(Record(what, span.context, asked, when, wanted, *whose))

    async def _send(self, method: str, path: str, body: Object, headers: Mapping[str, str]) -> Object:
        reply = await self.client.raw(method, path, msgspec.json.encode(body), headers)
        written: Object = msgspec.json.decode(reply.body)
        return written

    def _name(self, what: str) -> str:
        self._names += 1
        return f"{what}-{self._names}"

    # -- settled ------------------------------------------------------------------------------------------------------

    def _rolled_out(self, name: str, replicas: int) -> bool:
        found = self.world.get(DEPLOYMENT, name)
        status = found.get("status") or {}
        counts = [
            status.get(count, 0) for count in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        ]
        generation = (found.get("metadata") or {}).get("generation", 0)
        return (
            counts == [replicas] * 4
            and status.get("observedGeneration", 0) >= generation
            and (found["spec"]["replicas"] == replicas)
        )

    def _phase(self, name: str) -> str:
        return str((self.world.get(POD, name).get("status") or {}).get("phase", ""))

    def _published(self, service: str, port: int) -> bool:
        slices = self.world.slices_of(service)
        ready = [end for each in slices for end in each.get("endpoints") or () if end["conditions"].get("ready")]
        return bool(ready) and any(p.get("port") == port for each in slices for p in each.get("ports") or ())


def _version(obj: Object) -> int:
    return int((obj.get("metadata") or {}).get("resourceVersion") or 0)


def _container(image: str = "nginx:1.27") -> Object:
    return {"name": "c", "image": image, "ports": [{"containerPort": 80}]}


def _deployment(name: str) -> Object:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [_container()], "terminationGracePeriodSeconds": 1},
    }
    return {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}


def _condition(obj: Object, type_: str, status: str = "True") -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(each["type"] == type_ and each["status"] == status for each in conditions)


def _is_ready(pod: Object) -> bool:
    return _condition(pod, "Ready")


@asynccontextmanager
async def changing(
    kubeconfig: str, otlp: str, namespace: str, more: Sequence[Kind] = (), seed: int = 1
) -> AsyncIterator[Changes]:
    """Changes in a namespace of their own, followed by watches, of `more` kinds if wanted; the client's spans go to
    `otlp` (host:port)."""
    quiet = quiet_telemetry()
    every = TracingConfiguration(otlp, 1_000_000)
    tracer = build_tracer(SERVICE_NAME, every, {}, quiet.log, quiet.metrics, environ={})
    client = Client(load_kubeconfig(kubeconfig), quiet_telemetry(tracer), SERVICE_NAME)
    world = World(client, namespace)
    try:
        nodes = [node["metadata"]["name"] for node in (await client.list(NODE)).items]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tracer.run(lambda: None))]
            for kind in (*_FOLLOWED, *more):
                ready = asyncio.Event()
                tasks.append(group.create_task(world.follow(kind, ready.set)))
                await ready.wait()
            yield Changes(client, world, namespace, nodes, random.Random(seed), tracer)
            await tracer.flush()
            for task in tasks:
                task.cancel()
    finally:
        await client.close()
