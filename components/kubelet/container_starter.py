"""Starts one container: image, configuration, create, start, postStart hook; and the events that tell of each step.

Upstream: kuberuntime_container.go (startContainer). Every failure is a StartFailure whose reason is what the
container's waiting state says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.objects import Container, Pod
from kubeglass.components.kubelet.actions import spec_hash
from kubeglass.components.kubelet.cgroups.manager import PodGroups
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.environment import Environment, expand, identity
from kubeglass.components.kubelet.hooks import HookError, Hooks
from kubeglass.components.kubelet.image_puller import ImageError, ImagePuller
from kubeglass.components.kubelet.metrics import ContainerMetrics
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.pod_files import PodFiles
from kubeglass.components.kubelet.pod_resources import of_container
from kubeglass.components.kubelet.references import MissingReferenceError
from kubeglass.components.kubelet.runtime.runtime import (
    ContainerConfig,
    Mount,
    Runtime,
    RuntimeCallError,
    Sandbox,
    StartContainerError,
)
from kubeglass.components.kubelet.volumes import VolumeError, container_mounts
from kubeglass.components.machinery.transport import Unreachable


class StartFailure(Exception):
    """A container that could not be started."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class ContainerStarter:
    """Starts containers on one node."""

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        puller: ImagePuller,
        environment: Environment,
        files: PodFiles,
        groups: PodGroups,
        hooks: Hooks,
        events: PodEvents,
        metrics: ContainerMetrics,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._puller = puller
        self._environment = environment
        self._files = files
        self._groups = groups
        self._hooks = hooks
        self._events = events
        self._metrics = metrics
        self._running_hooks: dict[str, asyncio.Timeout] = {}

    async def start(
        self, pod: Pod, spec: Container, sandbox: Sandbox, attempt: int, volumes: Mapping[str, Path], kind: str
    ) -> None:
        """Bring one container to life; `kind` is container or init_container. Raises StartFailure."""
        self._metrics.started_containers_total.labels(kind).inc()
        try:
            await self._start(pod, spec, sandbox, attempt, volumes)
        except StartFailure as failure:
            self._metrics.started_containers_errors_total.labels(kind, failure.reason).inc()
            raise

    async def _start(
        self, pod: Pod, spec: Container, sandbox: Sandbox, attempt: int, volumes: Mapping[str, Path]
    ) -> None:
        try:
            await self._puller.ensure(pod, spec)
        except ImageError as error:
            raise StartFailure(error.reason, error.message) from error
        try:
            config = await self._configure(pod, spec, sandbox, attempt, volumes)
        except (MissingReferenceError, VolumeError, ApiError, Unreachable) as error:
            self._events.warning(pod, spec, "Failed", f"Error: {error}")
            raise StartFailure("CreateContainerConfigError", str(error)) from error
        try:
            container_id = await self._runtime.create_container(sandbox.id, config)
        except RuntimeCallError as error:
            self._events.warning(pod, spec, "Failed", f"Error: {error}")
            raise StartFailure("CreateContainerError", str(error)) from error
        self._events.normal(pod, spec, "Created", "Container created")
        try:
            await self._runtime.start_container(container_id)
        except (StartContainerError, RuntimeCallError) as error:
            self._events.warning(pod, spec, "Failed", f"Error: {error}")
            raise StartFailure("RunContainerError", str(error)) from error
        self._events.normal(pod, spec, "Started", "Container started")
        await self._post_start(pod, spec, container_id, sandbox.ip)

    async def _post_start(self, pod: Pod, spec: Container, container_id: str, pod_ip: str) -> None:
        if spec.lifecycle is None or spec.lifecycle.post_start is None:
            return
        try:
            async with asyncio.timeout(None) as scope:
                self._running_hooks[pod.metadata.uid] = scope
                await self._hooks.run(spec.lifecycle.post_start, pod, spec, container_id, pod_ip)
        except TimeoutError:  # interrupted: the pod is terminating
            return
        except HookError as error:
            self._events.warning(pod, spec, "FailedPostStartHook", f"PostStartHook failed: {error}")
            self._events.normal(pod, spec, "Killing", "FailedPostStartHook")
            await self._runtime.stop_container(container_id, pod.spec.termination_grace_period_seconds)
            raise StartFailure("PostStartHookError", str(error)) from error
        finally:
            self._running_hooks.pop(pod.metadata.uid, None)

    def interrupt(self, pod_uid: str) -> None:
        """Wait no longer for a postStart hook of a pod that is to end."""
        scope = self._running_hooks.get(pod_uid)
        if scope is not None and not scope.expired():
            scope.reschedule(asyncio.get_running_loop().time())

    async def _configure(
        self, pod: Pod, spec: Container, sandbox: Sandbox, attempt: int, volumes: Mapping[str, Path]
    ) -> ContainerConfig:
        variables = await self._environment.variables(pod, spec, sandbox.ip)
        uid, gid = identity(pod, spec)
        security, shared = spec.security_context, pod.spec.security_context
        mounts = (*container_mounts(spec, volumes, variables), *self._own_mounts(pod, spec, sandbox, attempt))
        return ContainerConfig(
            name=spec.name,
            image=spec.image,
            attempt=attempt,
            command=tuple(expand(text, variables) for text in spec.command),
            args=tuple(expand(text, variables) for text in spec.args),
            env=variables,
            working_dir=spec.working_dir,
            mounts=mounts,
            log_path=str(self._log_path(pod, spec, attempt)),
            log_max_bytes=self._config.container_log_max_size,
            log_max_files=self._config.container_log_max_files,
            stdin=spec.stdin,
            stdin_once=spec.stdin_once,
            tty=spec.tty,
            uid=uid,
            gid=gid,
            groups=shared.supplemental_groups if shared else (),
            read_only_root=bool(security and security.read_only_root_filesystem),
            host_pid=pod.spec.host_pid,
            **asdict(of_container(spec)),
            cgroup_parents=self._groups.folders(pod),
            stop_signal=spec.lifecycle.stop_signal if spec.lifecycle else "",
            pod_ip=sandbox.ip,
            spec_hash=spec_hash(spec),
        )

    def _own_mounts(self, pod: Pod, spec: Container, sandbox: Sandbox, attempt: int) -> tuple[Mount, ...]:
        """What the kubelet gives every container beside its volumes."""
        taken = {mount.mount_path for mount in spec.volume_mounts}
        message = self._files.termination_message(pod, spec, attempt)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        message.chmod(0o666)
        rows = [Mount(str(message), spec.termination_message_path or "/dev/termination-log")]
        rows += [Mount(str(file), path) for path, file in self._files.network_files(pod, sandbox.ip).items()]
        return tuple(row for row in rows if row.container_path not in taken)

    def _log_path(self, pod: Pod, spec: Container, attempt: int) -> Path:
        meta = pod.metadata
        return self._config.pod_log_dir(meta.namespace, meta.name, meta.uid) / spec.name / f"{attempt}.log"
