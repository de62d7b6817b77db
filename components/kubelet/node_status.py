"""The kubelet's own object: the Node is registered, its status kept true, its Lease renewed.

Upstream: kubelet_node_status.go, nodestatus/setters.go, component-helpers/apimachinery/lease.
"""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from kubeglass import GIT_VERSION
from kubeglass.components.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeglass.components.api.kinds import LEASE, NODE
from kubeglass.components.kubelet import machine
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.metrics import NodeMetrics
from kubeglass.components.kubelet.runtime.runtime import Runtime
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client, Object
from kubeglass.components.machinery.events import EventRecorder, ObjectReference
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry

LEASE_NAMESPACE = "kube-node-lease"
RUNTIME_LABEL = "kubeglass.io/runtime"
_EVICTION_MEMORY_BYTES = 100 * 1024 * 1024
_EVICTION_DISK_FRACTION = 0.02
_EVICTION_PID_FRACTION = 0.05
_RETRY_SECONDS = 0.1
_RETRY_MAX_SECONDS = 7.0
_MAX_IMAGES = 50


class NodeReporter:
    """Reports one node. `problems` gives what keeps the node from being Ready, "" for nothing."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        runtime: Runtime,
        recorder: EventRecorder,
        telemetry: Telemetry,
        problems: Callable[[], Awaitable[str]],
    ) -> None:
        self._config = config
        self._client = client
        self._runtime = runtime
        self._recorder = recorder
        self._log = telemetry.log
        self._metrics = NodeMetrics(telemetry.metrics)
        self._problems = problems
        self._uid = ""
        self._conditions: dict[str, dict[str, Any]] = {}
        self._reported: dict[str, Any] | None = None
        self._reported_at = 0.0
        self._started_at = clock.now()
        self._registered_at = 0.0
        self._was_ready = False
        self._changed = asyncio.Event()
        self._metrics.node_name.labels(config.node_name).set(1)
        self._metrics.metrics_provider.labels("cadvisor").set(1)
        self._metrics.cgroup_version.set(machine.cgroup_version())
        self._metrics.node_startup_pre_kubelet_duration_seconds.set(max(0.0, self._started_at - machine.boot_time()))

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Register, then report and renew until cancelled."""
        if self._config.register_node:
            await self.register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_forever(), name="node-lease")
            group.create_task(self._report_forever(started), name="node-status")

    @property
    def uid(self) -> str:
        """Of the Node object; "" until it is registered."""
        return self._uid

    def report_soon(self) -> None:
        """Something that the status shows has changed."""
        self._changed.set()

    async def register(self) -> None:
        """Create the Node, or adopt the one that exists. Retries until the server answers."""
        first_attempt, delay = clock.now(), _RETRY_SECONDS
        self._log.info("Attempting to register node", node=self._config.node_name)
        while True:
            try:
                self._uid = await self._create_or_adopt()
                break
            except (ApiError, Unreachable) as error:
                self._log.error(error, "Unable to register node with API server", node=self._config.node_name)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_MAX_SECONDS)
        self._registered_at = clock.now()
        self._metrics.node_startup_pre_registration_duration_seconds.set(first_attempt - self._started_at)
        self._metrics.node_startup_registration_duration_seconds.set(self._registered_at - first_attempt)
        self._log.info("Successfully registered node", node=self._config.node_name)

    async def _create_or_adopt(self) -> str:
        node = self._new_node()
        node["status"] = await self._status()
        try:
            created = await self._client.create(NODE, node)
        except AlreadyExists:
            existing = await self._client.get(NODE, self._config.node_name)
            for condition in (existing.get("status") or {}).get("conditions") or ():
                self._conditions.setdefault(condition["type"], condition)
                if self._conditions[condition["type"]]["status"] == condition["status"]:
                    self._conditions[condition["type"]]["lastTransitionTime"] = condition["lastTransitionTime"]
            wanted = node["metadata"]["labels"]
            labels = existing["metadata"].get("labels") or {}
            if any(labels.get(key) != value for key, value in wanted.items()):
                await self._client.patch(
                    NODE, self._config.node_name, {"metadata": {"labels": wanted}}, patch_type="strategic"
                )
            self._reported = None
            return str(existing["metadata"]["uid"])
        return str(created["metadata"]["uid"])

    def _new_node(self) -> Object:
        name = self._config.node_name
        labels = {
            "beta.kubernetes.io/arch": machine.architecture(),
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": machine.architecture(),
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            RUNTIME_LABEL: self._runtime.name,
            **self._config.node_labels,
        }
        spec: Object = {}
        if self._config.pod_cidr:
            spec = {"podCIDR": self._config.pod_cidr, "podCIDRs": [self._config.pod_cidr]}
        annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": spec,
        }

    # -- status ---------------------------------------------------------------------------------------------------

    async def _report_forever(self, started: Callable[[], None]) -> None:
        while True:
            try:
                await self._report()
                started()
            except NotFound:
                await self.register()  # somebody deleted the Node
            except (ApiError, Unreachable) as error:
                self._log.error(error, "Error updating node status, will retry", node=self._config.node_name)
            try:
                async with asyncio.timeout(self._config.node_status_update_seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue
            finally:
                self._changed.clear()

    async def _report(self) -> None:
        """Patch what changed; the heartbeat times alone only every few minutes."""
        if self._reported is not None:
            await self._heed_others()
        status = await self._status()
        due = clock.now() - self._reported_at >= self._config.node_status_report_seconds
        if self._reported is not None and not due and _without_heartbeats(status) == self._reported:
            return
        await self._client.patch(
            NODE, self._config.node_name, {"status": status}, patch_type="strategic", subresource="status"
        )
        self._reported, self._reported_at = _without_heartbeats(status), clock.now()
        self._note_ready(status)

    async def _heed_others(self) -> None:
        """The node controller sets conditions to Unknown when it hears nothing of the node: answer that at once."""
        node = await self._client.get(NODE, self._config.node_name)
        for condition in (node.get("status") or {}).get("conditions") or ():
            ours = self._conditions.get(condition["type"])
            if ours is not None and ours["status"] != condition["status"]:
                self._conditions[condition["type"]] = condition
                self._reported = None

    def _note_ready(self, status: dict[str, Any]) -> None:
        ready = next(c["status"] == "True" for c in status["conditions"] if c["type"] == "Ready")
        if ready and not self._was_ready:
            self._was_ready = True
            now = clock.now()
            self._metrics.node_startup_post_registration_duration_seconds.set(now - self._registered_at)
            self._metrics.node_startup_duration_seconds.set(max(0.0, now - machine.boot_time()))

    async def _status(self) -> dict[str, Any]:
        config, memory = self._config, machine.memory()
        disk = machine.disk(config.root_dir)
        capacity = {
            "cpu": str(machine.cpu_count()),
            "ephemeral-storage": f"{disk.capacity // 1024}Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": f"{memory.total // 1024}Ki",
            "pods": str(config.max_pods),
        }
        allocatable = {
            **capacity,
            "ephemeral-storage": str(int(disk.capacity * (1 - _EVICTION_DISK_FRACTION))),
            "memory": f"{(memory.total - _EVICTION_MEMORY_BYTES) // 1024}Ki",
        }
        images = await self._runtime.list_images()
        return {
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": await self._node_conditions(memory, disk),
            "addresses": [
                {"type": "InternalIP", "address": config.node_ip},
                {"type": "Hostname", "address": config.node_name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
            "nodeInfo": {
                "machineID": machine.machine_id(),
                "systemUUID": machine.system_uuid(),
                "bootID": machine.boot_id(),
                "kernelVersion": platform.release(),
                "osImage": machine.os_image(),
                "containerRuntimeVersion": f"{self._runtime.name}://{self._runtime.version}",
                "kubeletVersion": GIT_VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": machine.architecture(),
            },
            "images": [
                {"names": list(image.names), "sizeBytes": image.size_bytes}
                for image in sorted(images, key=lambda image: -image.size_bytes)[:_MAX_IMAGES]
            ],
        }

    def allocatable(self) -> dict[str, str]:
        """What containers without limits may use, for the downward API."""
        disk, memory = machine.disk(self._config.root_dir), machine.memory()
        return {
            "cpu": str(machine.cpu_count()),
            "memory": str(memory.total - _EVICTION_MEMORY_BYTES),
            "ephemeral-storage": str(int(disk.capacity * (1 - _EVICTION_DISK_FRACTION))),
        }

    async def _node_conditions(self, memory: machine.Memory, disk: machine.Disk) -> list[dict[str, Any]]:
        low_memory = memory.available < _EVICTION_MEMORY_BYTES
        low_disk = disk.available < disk.capacity * _EVICTION_DISK_FRACTION
        running, allowed = machine.process_ids()
        low_pids = allowed - running < allowed * _EVICTION_PID_FRACTION
        problem = await self._problems()
        rows = (
            _pressure("MemoryPressure", low_memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
                      "insufficient memory available", "sufficient memory available"),
            _pressure("DiskPressure", low_disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
                      "disk pressure", "no disk pressure"),
            _pressure("PIDPressure", low_pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID",
                      "insufficient PID available", "sufficient PID available"),
            ("Ready", "False" if problem else "True", "KubeletNotReady" if problem else "KubeletReady",
             problem or "kubelet is posting ready status"),
        )  # fmt: skip
        return [self._condition(*row) for row in rows]

    def _condition(self, type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
        old, now = self._conditions.get(type_), clock.now_rfc3339()
        changed = old is None or old["status"] != status
        if changed and old is not None:
            self._event_of_change(type_, status)
        condition = {
            "type": type_,
            "status": status,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now if changed or old is None else old["lastTransitionTime"],
            "reason": reason,
            "message": message,
        }
        self._conditions[type_] = condition
        return condition

    def _event_of_change(self, type_: str, status: str) -> None:
        names = {
            ("Ready", "True"): "NodeReady",
            ("Ready", "False"): "NodeNotReady",
            ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
            ("MemoryPressure", "False"): "NodeHasSufficientMemory",
            ("DiskPressure", "True"): "NodeHasDiskPressure",
            ("DiskPressure", "False"): "NodeHasNoDiskPressure",
            ("PIDPressure", "True"): "NodeHasInsufficientPID",
            ("PIDPressure", "False"): "NodeHasSufficientPID",
        }
        reason = names[type_, status]
        self.event("Normal", reason, f"Node {self._config.node_name} status is now: {reason}")

    def event(self, type_: Any, reason: str, message: str) -> None:
        """Tell of the node."""
        name = self._config.node_name
        self._recorder.event(ObjectReference("v1", "Node", name, uid=self._uid or name), type_, reason, message)

    # -- lease ----------------------------------------------------------------------------------------------------

    async def _renew_forever(self) -> None:
        """Four renewals per lease duration, as upstream: every ten seconds of forty."""
        delay = _RETRY_SECONDS
        while True:
            try:
                await self._renew()
                delay = _RETRY_SECONDS
                await asyncio.sleep(self._config.lease_duration_seconds / 4)
            except (ApiError, Unreachable) as error:
                self._log.error(error, "Failed to update lease", lease=self._config.node_name)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_MAX_SECONDS)

    async def _renew(self) -> None:
        name = self._config.node_name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._config.lease_duration_seconds,
            "renewTime": clock.now_micro(),
        }
        try:
            await self._client.patch(LEASE, name, {"spec": spec}, LEASE_NAMESPACE, patch_type="merge")
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
            metadata = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner] if self._uid else []}
            lease = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
            try:
                await self._client.create(LEASE, lease, LEASE_NAMESPACE)
            except (AlreadyExists, Conflict):
                return


def _pressure(
    type_: str, pressed: bool, bad: str, good: str, bad_text: str, good_text: str
) -> tuple[str, str, str, str]:
    text = bad_text if pressed else good_text
    return type_, "True" if pressed else "False", bad if pressed else good, f"kubelet has {text}"


def _without_heartbeats(status: dict[str, Any]) -> dict[str, Any]:
    conditions = [
        {key: value for key, value in condition.items() if key != "lastHeartbeatTime"}
        for condition in status["conditions"]
    ]
    return {**status, "conditions": conditions}


def default_node_name() -> str:
    """The host's name, as upstream registers it: lower case."""
    return socket.gethostname().lower()
