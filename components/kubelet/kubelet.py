"""The kubelet: wires its parts together and gives each pod of its node a worker. Decides nothing itself.

    API server → informer → dispatch → PodWorker ⇄ runtime, network, volumes, probes
                                          └→ StatusManager → API server
Upstream: pkg/kubelet/kubelet.go (syncLoop), cmd/kubelet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from kubeglass.components.api.kinds import NODE, POD, SERVICE
from kubeglass.components.api.objects import Node, Pod, Service, decode
from kubeglass.components.kubelet.admission import Admission
from kubeglass.components.kubelet.backoff import BackOff
from kubeglass.components.kubelet.certificates import CertificateManager, Pairs
from kubeglass.components.kubelet.cgroups.manager import PodGroups
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.container_starter import ContainerStarter
from kubeglass.components.kubelet.environment import Environment
from kubeglass.components.kubelet.eviction import Evictions
from kubeglass.components.kubelet.figures import collect_logs, collect_volumes
from kubeglass.components.kubelet.flags import add_flags, configuration, tracing
from kubeglass.components.kubelet.handlers import Handlers
from kubeglass.components.kubelet.hooks import Hooks
from kubeglass.components.kubelet.image_puller import ImagePuller
from kubeglass.components.kubelet.metrics import (
    CgroupMetrics,
    ContainerMetrics,
    EvictionMetrics,
    ImageMetrics,
    PodStartMetrics,
    PodWorkerMetrics,
    ProbeMetrics,
    VolumeMetrics,
)
from kubeglass.components.kubelet.network import CniNetwork, NetworkError, write_loopback_network
from kubeglass.components.kubelet.node_status import NodeReporter
from kubeglass.components.kubelet.observed import Role, role_of
from kubeglass.components.kubelet.pleg import Pleg
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.pod_files import PodFiles
from kubeglass.components.kubelet.pod_sandbox import PodSandboxes
from kubeglass.components.kubelet.pod_start import PodStartTracker
from kubeglass.components.kubelet.pod_worker import Parts, PodWorker
from kubeglass.components.kubelet.probes import ProbeManager
from kubeglass.components.kubelet.references import References
from kubeglass.components.kubelet.resizing import Resizer
from kubeglass.components.kubelet.runtime import runtime as runtime_contract
from kubeglass.components.kubelet.runtime.images import Catalog, CatalogError
from kubeglass.components.kubelet.runtime.instrumented import InstrumentedRuntime
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.runtime import Runtime
from kubeglass.components.kubelet.runtime.simulated import SimulatedRuntime
from kubeglass.components.kubelet.server import KubeletServer, MakePages
from kubeglass.components.kubelet.static_pods import MIRROR, StaticPods, is_mirror, is_static
from kubeglass.components.kubelet.status_manager import StatusManager
from kubeglass.components.kubelet.termination import Terminator
from kubeglass.components.kubelet.volumes import VolumeManager
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.loopback import host_port
from kubeglass.components.machinery.process import ComponentSpec, ConfigError, Context, start
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.metrics.process import started_unix_seconds
from kubeglass.telemetry.tracing.causality import Causes

_HOUSEKEEPING_SECONDS = 2.0


class Kubelet:
    """One node."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        runtime: Runtime,
        telemetry: Telemetry,
        pages: MakePages | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._telemetry = telemetry
        self._log = telemetry.log
        self._group: asyncio.TaskGroup | None = None
        self._workers: dict[str, PodWorker] = {}
        self.renewals: tuple[CertificateManager, ...] = ()
        self.runtime = InstrumentedRuntime(runtime, telemetry)
        self.probe_registry = telemetry.metrics.companion()
        self.pods = Informer(client, POD, Pod, telemetry, field_selector=f"spec.nodeName={config.node_name}")
        self._services = Informer(client, SERVICE, Service, telemetry)
        self._recorder = EventRecorder(client, "kubelet", telemetry, host=config.node_name)
        self._handlers = Handlers(self.runtime)
        self._network = self._make_network()
        self.node = NodeReporter(config, client, self.runtime, self._recorder, telemetry, self._problems)
        self._static = StaticPods(
            config.static_pod_path, config.node_name, lambda: self.node.uid, client, self.pods, telemetry,
            self._add, self._remove,
        )  # fmt: skip
        self._metrics = PodWorkerMetrics(telemetry.metrics)
        self._groups = PodGroups(config, self._active, CgroupMetrics(telemetry.metrics), telemetry.log)
        self._parts = self._make_parts()
        self.server = KubeletServer(config, client, self.runtime, self._static, self._groups, self, telemetry, pages)
        self._evictions = Evictions(
            self.runtime, self.pods.list, self._parts.volumes.empty_dir, self._evict,
            EvictionMetrics(telemetry.metrics), telemetry.log,
        )  # fmt: skip
        self._pleg = Pleg(self.runtime, telemetry, self._wake, self._container_type)
        telemetry.health.add("syncloop", self._pleg.check_health)

    def _make_network(self) -> CniNetwork:
        config = self._config
        directory = config.root_dir / "cni"
        conf_dir, plugin_dirs = config.cni_conf_dir, config.cni_bin_dirs
        if conf_dir is None:
            conf_dir, plugins = write_loopback_network(directory, config.pod_cidr)
            plugin_dirs = (plugins, *plugin_dirs)
        return CniNetwork(conf_dir, plugin_dirs, directory / "results", self._telemetry.tracer)

    def _make_parts(self) -> Parts:
        config, telemetry, runtime = self._config, self._telemetry, self.runtime
        events = PodEvents(self._recorder)
        references, files, hooks = References(self._client), PodFiles(config), Hooks(self._handlers)
        allocatable = self.node.allocatable
        environment = Environment(references, self._services.list, allocatable, config.node_ip)
        volumes = VolumeManager(config, references, allocatable, VolumeMetrics(telemetry.metrics))
        wanted = lambda: (plugin for pod in self._static.list() for plugin in volumes.plugins(pod))  # noqa: E731
        collect_volumes(telemetry.metrics, volumes.mounted, wanted)
        collect_logs(telemetry.metrics, config.logs_dir)
        puller = ImagePuller(runtime, events, ImageMetrics(telemetry.metrics))
        probe_metrics = ProbeMetrics(self.probe_registry)
        probe_metrics.process_start_time_seconds.set(started_unix_seconds())
        probes = ProbeManager(self._handlers, events, probe_metrics, telemetry, self._wake)
        containers = ContainerMetrics(telemetry.metrics)
        return Parts(
            config=config,
            runtime=runtime,
            groups=self._groups,
            resizer=Resizer(runtime, self._groups, events),
            sandboxes=PodSandboxes(config, runtime, self._network, volumes, events, self._metrics, telemetry),
            starter=ContainerStarter(
                config, runtime, puller, environment, files, self._groups, hooks, events, containers
            ),
            terminator=Terminator(runtime, hooks, probes, events, telemetry),
            puller=puller,
            volumes=volumes,
            files=files,
            probes=probes,
            status=StatusManager(self._client, self._metrics, telemetry, self._static.uid_on_server),
            events=events,
            metrics=self._metrics,
            starts=PodStartTracker(PodStartMetrics(telemetry.metrics)),
            back_off=BackOff(),
            admission=Admission(self._static.list, allocatable, config.max_pods, self._node_object),
            causes=Causes(telemetry.tracer.annotation),
            telemetry=telemetry,
            spawn=self._spawn,
        )

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve the node until cancelled; its containers go on without it."""
        for folder in (self._config.root_dir, self._config.pods_dir, self._config.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._start(group, started)
        finally:
            self._group = None
            await self.runtime.close()
            await self._handlers.close()
            await self._client.close()

    async def _start(self, group: asyncio.TaskGroup, started: Callable[[], None]) -> None:
        group.create_task(self._recorder.run(), name="events")
        self.node.event("Normal", "Starting", "Starting kubelet.")
        self._groups.start()
        if self._groups.per_pod:
            self.node.event("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
        await self.runtime.start()
        await start(group, self.server.run, "server")
        await start(group, self._parts.probes.run, "probes")
        await start(group, self._parts.status.run, "status")
        await start(group, self._pleg.run, "pleg")
        group.create_task(self.node.run(started), name="node")
        group.create_task(self._evictions.run(), name="evictions")
        group.create_task(self._groups.run(), name="control-groups")
        group.create_task(self._services.run(), name="services")
        for renewal in self.renewals:
            group.create_task(renewal.run(), name="certificates")
        group.create_task(self._follow_pods(group), name="pods")

    async def _follow_pods(self, group: asyncio.TaskGroup) -> None:
        """Pods are served once their Services are known: their environment names them."""
        await self._services.synced.wait()
        await start(group, self.pods.run, "pod-informer")
        await self._parts.sandboxes.release_unknown_addresses()
        self._static.look()  # before anything is taken for an orphan
        group.create_task(self._static.run(), name="static-pods")
        self.pods.subscribe(self._dispatch)
        while True:
            await self._house_keep()
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    def _active(self) -> list[Pod]:
        """The Pods that run or are to run."""
        return [worker.pod for worker in self._workers.values() if worker.lifecycle == "sync"]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        assert self._group is not None, "kubelet is not running"
        self._group.create_task(work, name=name)

    async def _node_object(self) -> Node:
        return decode(Node, await self._client.get(NODE, self._config.node_name))

    async def _problems(self) -> str:
        """What keeps the node from being Ready."""
        try:
            await self._network.status()
        except NetworkError as error:
            return (
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
                f"message:Network plugin returns error: {error}"
            )
        return ""

    # -- pods -----------------------------------------------------------------------------------------------------

    def _dispatch(self, change: Change[Pod]) -> None:
        if is_mirror(change.new):
            if change.type == "ADDED":
                self._parts.status.shown(change.new.metadata.annotations[MIRROR])
            return
        uid = change.new.metadata.uid
        worker = self._workers.get(uid)
        if change.type == "DELETED":
            if worker is not None:
                worker.remove()
        elif worker is not None:
            worker.update(change.new)
        else:
            self._log.v(2).info("SyncLoop ADD", source="api", pods=[change.new.key])
            self._add(change.new)
        if change.old is not None and change.old.metadata.uid != uid and change.old.metadata.uid in self._workers:
            self._workers[change.old.metadata.uid].remove()

    def _add(self, pod: Pod) -> bool:
        """Give a pod its worker; not while an earlier one of the same manifest is still ending."""
        uid = pod.metadata.uid
        if uid in self._workers:
            return False
        worker = self._workers[uid] = PodWorker(pod, self._parts)
        self._metrics.containers_per_pod_count.observe(len(pod.spec.containers))
        self._spawn(self._work(uid, worker), f"pod-{pod.key}")
        return True

    def _remove(self, pod: Pod) -> None:
        """A static pod's manifest is gone."""
        worker = self._workers.get(pod.metadata.uid)
        if worker is not None:
            worker.remove()

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self._workers.pop(uid, None)
            self._parts.starts.forget(uid)

    def _evict(self, pod: Pod, message: str) -> None:
        worker = self._workers.get(pod.metadata.uid)
        if worker is not None:
            worker.evict(message)

    def _wake(self, pod_uid: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.wake()

    def _container_type(self, container: runtime_contract.Container) -> str:
        worker = self._workers.get(container.pod_uid)
        return (role_of(worker.pod, container.name) if worker else Role.REGULAR).type

    async def _house_keep(self) -> None:
        """End what runs without being asked for, and count the pods."""
        for sandbox in await self.runtime.list_pod_sandboxes():
            config = sandbox.config
            if config.pod_uid not in self._workers:
                self._metrics.orphaned_runtime_pods_total.inc()
                self._log.info("Cleaning up orphaned pod", podUID=config.pod_uid, pod=config.pod_name)
                await self._parts.sandboxes.remove(config.pod_namespace, config.pod_name, config.pod_uid)
        self._groups.clean_up(self._workers)
        lifecycles = [worker.lifecycle for worker in self._workers.values()]
        pods = self._static.list()
        for static, label in ((True, "true"), (False, "")):
            self._metrics.desired_pods.labels(label).set(sum(is_static(pod) is static for pod in pods))
        self._metrics.active_pods.labels("").set(sum(state != "terminated" for state in lifecycles))
        self._metrics.mirror_pods.set(self._static.mirrors())
        ephemeral = sum(len(worker.pod.spec.ephemeral_containers) for worker in self._workers.values())
        self._metrics.managed_ephemeral_containers.set(ephemeral)
        for state in ("sync", "terminating", "terminated"):
            self._metrics.working_pods.labels(state, "desired", "").set(lifecycles.count(state))


# -- the component ----------------------------------------------------------------------------------------------------


def make_runtime(config: KubeletConfig) -> Runtime:
    """The runtime that --runtime names. Raises ConfigError."""
    try:
        catalog = Catalog.load(config.image_catalogs)
    except CatalogError as error:
        raise ConfigError(str(error)) from error
    if config.runtime == "simulated":
        return SimulatedRuntime(catalog)
    return ProcessRuntime(config.root_dir, catalog, port_shift=host_port(80) - 80)


def build(context: Context) -> Kubelet:
    """Build the component from its flags."""
    pairs = Pairs(configuration(context.flags), context.access())
    config, client = pairs.newest_config(), context.client(access=pairs.newest_access())
    pairs.show(context.telemetry.metrics)
    pages = lambda registries: context.pages(registries=registries)  # noqa: E731
    kubelet = Kubelet(config, client, make_runtime(config), context.telemetry, pages)
    kubelet.renewals = tuple(pairs.managers(client, kubelet.server.use, context.telemetry))
    return kubelet


COMPONENT = ComponentSpec(
    name="kubelet",
    binary="kubelet",
    summary="Runs the Pods of one node.",
    add_flags=add_flags,
    build=build,
    tracing=tracing,
)
