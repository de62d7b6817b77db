"""The volumes of pods as directories and files of the node, below POD_DIR/volumes/PLUGIN/NAME.

emptyDir, hostPath, configMap, secret, downwardAPI, projected, and claims bound to hostPath or local volumes. Projected
content is replaced atomically through the `..data` link, as upstream's AtomicWriter does.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kubeglass.components.api.objects import Container, KeyToPath, Pod, Volume, VolumeProjection
from kubeglass.components.api.objects.volumes import DownwardAPIVolumeFile
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.environment import Allocatable, expand, field_value, resource_value
from kubeglass.components.kubelet.metrics import VolumeMetrics
from kubeglass.components.kubelet.references import MissingReferenceError, References
from kubeglass.components.kubelet.runtime.runtime import Mount
from kubeglass.components.machinery import clock

_TOKEN_REFRESH = 0.8
"""A token is asked for anew after this part of its life."""


class VolumeError(Exception):
    """A volume that cannot be given; the text is fit for a FailedMount event."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    mode: int


_Payload = dict[str, _File]


class MountedVolume(NamedTuple):
    """A volume of a pod, ready on the node. `claim` is empty when it needs none."""

    plugin: str
    namespace: str
    claim: str
    path: Path


class VolumeManager:
    """Makes and removes the volumes of pods on one node."""

    def __init__(
        self,
        config: KubeletConfig,
        references: References,
        allocatable: Callable[[], Allocatable],
        metrics: VolumeMetrics,
    ) -> None:
        self._config = config
        self._references = references
        self._allocatable = allocatable
        self._metrics = metrics
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._mounted: dict[str, list[MountedVolume]] = {}

    def mounted(self) -> list[MountedVolume]:
        """Every volume on the node now."""
        return [volume for volumes in self._mounted.values() for volume in volumes]

    async def mount(self, pod: Pod, pod_ip: str = "") -> dict[str, Path]:
        """Every volume of the pod, made or brought up to date: name → path on the node. Raises VolumeError."""
        paths = {volume.name: await self._mount(pod, volume, pod_ip) for volume in pod.spec.volumes}
        self._mounted[pod.metadata.uid] = [
            MountedVolume(_plugin(volume), pod.metadata.namespace, _claim_name(pod, volume), paths[volume.name])
            for volume in pod.spec.volumes
        ]
        return paths

    def unmount(self, pod_uid: str) -> None:
        """Delete the pod's volumes (never what a hostPath names)."""
        self._tokens = {key: value for key, value in self._tokens.items() if key[0] != pod_uid}
        self._mounted.pop(pod_uid, None)
        shutil.rmtree(self._config.pods_dir / pod_uid / "volumes", onerror=_open_up)

    def remove(self, pod_uid: str) -> None:
        """Delete everything the pod had on the node."""
        self.unmount(pod_uid)
        shutil.rmtree(self._config.pods_dir / pod_uid, onerror=_open_up)

    def plugins(self, pod: Pod) -> list[str]:
        """The plugin of each volume, for volume_manager_total_volumes."""
        return [_plugin(volume) for volume in pod.spec.volumes]

    async def _mount(self, pod: Pod, volume: Volume, pod_ip: str) -> Path:
        started = asyncio.get_running_loop().time()
        status = "fail-unknown"
        try:
            path = await self._make(pod, volume, pod_ip)
            status = "success"
            return path
        except MissingReferenceError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        except OSError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        finally:
            self._metrics.storage_operation_duration_seconds.labels(
                _plugin(volume), "volume_mount", status, "false"
            ).observe(asyncio.get_running_loop().time() - started)

    async def _make(self, pod: Pod, volume: Volume, pod_ip: str) -> Path:
        if volume.host_path is not None:
            return _host_path(volume.host_path.path, volume.host_path.type)
        if claim := _claim_name(pod, volume):
            return await self._claim(pod, claim)
        path = self._path(pod, volume)
        if volume.empty_dir is not None:
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o777)
            return path
        payload = await self._payload(pod, volume, pod_ip)
        await asyncio.to_thread(write_atomically, path, payload)
        return path

    def empty_dir(self, pod: Pod, name: str) -> Path:
        """Where an emptyDir of the pod lies."""
        return self._config.pods_dir / pod.metadata.uid / "volumes" / "kubernetes.io~empty-dir" / name

    def _path(self, pod: Pod, volume: Volume) -> Path:
        return self._config.pods_dir / pod.metadata.uid / "volumes" / _plugin(volume).replace("/", "~") / volume.name

    async def _claim(self, pod: Pod, name: str) -> Path:
        claim = await self._references.claim(pod.metadata.namespace, name)
        if claim is None:
            raise MissingReferenceError(f'persistentvolumeclaim "{name}" not found')
        if not claim.spec.volume_name:
            raise MissingReferenceError(f'persistentvolumeclaim "{name}" is not bound')
        found = await self._references.volume(claim.spec.volume_name)
        if found is None:
            raise MissingReferenceError(f'persistentvolume "{claim.spec.volume_name}" not found')
        if found.spec.host_path is not None:
            return _host_path(found.spec.host_path.path, found.spec.host_path.type or "DirectoryOrCreate")
        if found.spec.local is not None:
            return _host_path(found.spec.local.path, "Directory")
        raise MissingReferenceError(f'persistentvolume "{found.metadata.name}" is of a kind this node cannot mount')

    # -- projected content ----------------------------------------------------------------------------------------

    async def _payload(self, pod: Pod, volume: Volume, pod_ip: str) -> _Payload:
        namespace = pod.metadata.namespace
        if volume.config_map is not None:
            source = volume.config_map
            return await self._config_map(
                namespace, source.name, source.items, source.default_mode, bool(source.optional)
            )
        if volume.secret is not None:
            secret = volume.secret
            return await self._secret(
                namespace, secret.secret_name, secret.items, secret.default_mode, bool(secret.optional)
            )
        if volume.downward_api is not None:
            return self._downward(pod, volume.downward_api.items, volume.downward_api.default_mode, pod_ip)
        if volume.projected is not None:
            payload: _Payload = {}
            for projection in volume.projected.sources:
                payload |= await self._projection(pod, projection, volume.projected.default_mode, pod_ip)
            return payload
        raise MissingReferenceError("no volume plugin matched")

    async def _projection(self, pod: Pod, projection: VolumeProjection, mode: int, pod_ip: str) -> _Payload:
        namespace = pod.metadata.namespace
        if projection.config_map is not None:
            source = projection.config_map
            return await self._config_map(namespace, source.name, source.items, mode, bool(source.optional))
        if projection.secret is not None:
            secret = projection.secret
            return await self._secret(namespace, secret.name, secret.items, mode, bool(secret.optional))
        if projection.downward_api is not None:
            return self._downward(pod, projection.downward_api.items, mode, pod_ip)
        if projection.service_account_token is not None:
            token = projection.service_account_token
            text = await self._token(pod, token.audience, token.expiration_seconds)
            return {token.path: _File(text.encode(), mode)}
        raise MissingReferenceError("unsupported projected volume source")

    async def _config_map(
        self, namespace: str, name: str, items: Sequence[KeyToPath], mode: int, optional: bool
    ) -> _Payload:
        found = await self._references.config_map(namespace, name)
        if found is None:
            if optional:
                return {}
            raise MissingReferenceError(f'configmap "{name}" not found')
        content = {key: value.encode() for key, value in found.data.items()}
        content |= {key: base64.b64decode(value) for key, value in found.binary_data.items()}
        return _select(content, items, mode, optional)

    async def _secret(
        self, namespace: str, name: str, items: Sequence[KeyToPath], mode: int, optional: bool
    ) -> _Payload:
        found = await self._references.secret(namespace, name)
        if found is None:
            if optional:
                return {}
            raise MissingReferenceError(f'secret "{name}" not found')
        return _select({key: base64.b64decode(value) for key, value in found.data.items()}, items, mode, optional)

    def _downward(self, pod: Pod, items: Sequence[DownwardAPIVolumeFile], mode: int, pod_ip: str) -> _Payload:
        payload: _Payload = {}
        for item in items:
            if item.field_ref is not None:
                text = field_value(pod, item.field_ref.field_path, pod_ip=pod_ip, host_ip=self._config.node_ip)
            elif item.resource_field_ref is not None:
                ref = item.resource_field_ref
                text = resource_value(pod, ref.container_name, ref.resource, ref.divisor, self._allocatable())
            else:
                continue
            payload[item.path] = _File(text.encode(), item.mode if item.mode is not None else mode)
        return payload

    async def _token(self, pod: Pod, audience: str, expiration_seconds: int) -> str:
        key = (pod.metadata.uid, audience)
        kept, refresh_at = self._tokens.get(key, ("", 0.0))
        if clock.now() < refresh_at:
            return kept
        token, expires = await self._references.token(pod, audience, expiration_seconds)
        lifetime = clock.parse(expires) - clock.now()
        self._tokens[key] = (token, clock.now() + lifetime * _TOKEN_REFRESH)
        return token


def _claim_name(pod: Pod, volume: Volume) -> str:
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return f"{pod.metadata.name}-{volume.name}" if volume.ephemeral is not None else ""


def _plugin(volume: Volume) -> str:
    kinds: Mapping[str, object] = {
        "kubernetes.io/empty-dir": volume.empty_dir,
        "kubernetes.io/host-path": volume.host_path,
        "kubernetes.io/configmap": volume.config_map,
        "kubernetes.io/secret": volume.secret,
        "kubernetes.io/downward-api": volume.downward_api,
        "kubernetes.io/projected": volume.projected,
        "kubernetes.io/local-volume": volume.persistent_volume_claim or volume.ephemeral,
    }
    return next((name for name, source in kinds.items() if source is not None), "unknown")


def _select(content: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, optional: bool) -> _Payload:
    if not items:
        return {key: _File(value, mode) for key, value in content.items()}
    payload: _Payload = {}
    for item in items:
        if item.key in content:
            payload[item.path] = _File(content[item.key], item.mode if item.mode is not None else mode)
        elif not optional:
            raise MissingReferenceError(f"references non-existent config key: {item.key}")
    return payload


def _host_path(text: str, kind: str) -> Path:
    """The path itself after the check its type asks for. Raises MissingReferenceError."""
    path = Path(text)
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)
    checks: Mapping[str, tuple[Callable[[], bool], str]] = {
        "Directory": (path.is_dir, "is not a directory"),
        "DirectoryOrCreate": (path.is_dir, "is not a directory"),
        "File": (path.is_file, "is not a file"),
        "FileOrCreate": (path.is_file, "is not a file"),
        "Socket": (path.is_socket, "is not a socket file"),
        "CharDevice": (path.is_char_device, "is not a character device"),
        "BlockDevice": (path.is_block_device, "is not a block device"),
    }
    if kind in checks and not checks[kind][0]():
        raise MissingReferenceError(f"hostPath type check failed: {text} {checks[kind][1]}")
    if not path.exists():
        path.mkdir(parents=True)
    return path


def write_atomically(directory: Path, payload: _Payload) -> None:
    """Make `directory` show exactly `payload`; readers see the old files or the new ones, never a mixture."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "..data"
    if data.is_symlink() and _shows(data, payload):
        return
    version = directory / datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    for name, file in payload.items():
        target = version / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    version.mkdir(parents=True, exist_ok=True)
    version.chmod(0o755)
    previous = os.readlink(data) if data.is_symlink() else ""
    draft = directory / "..data_tmp"
    draft.unlink(missing_ok=True)
    draft.symlink_to(version.name)
    draft.rename(data)
    _link_names(directory, {name.split("/")[0] for name in payload})
    if previous:
        shutil.rmtree(directory / previous, ignore_errors=True)


def _link_names(directory: Path, names: set[str]) -> None:
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def _shows(data: Path, payload: _Payload) -> bool:
    present = {str(file.relative_to(data)): file.read_bytes() for file in data.rglob("*") if file.is_file()}
    return present == {name: file.content for name, file in payload.items()}


def container_mounts(
    container: Container, volumes: Mapping[str, Path], variables: Mapping[str, str]
) -> tuple[Mount, ...]:
    """The mounts of a container. Raises VolumeError for a subPath that leaves its volume."""
    mounts = []
    for mount in container.volume_mounts:
        if mount.name not in volumes:
            raise VolumeError(f'cannot find volume "{mount.name}" to mount into container "{container.name}"')
        source = volumes[mount.name]
        sub_path = expand(mount.sub_path_expr, variables) if mount.sub_path_expr else mount.sub_path
        if sub_path:
            if ".." in Path(sub_path).parts or os.path.isabs(sub_path):
                raise VolumeError(
                    f'failed to prepare subPath for volumeMount "{mount.name}" of container "{container.name}"'
                )
            source = source / sub_path
            if not source.exists():
                source.mkdir(parents=True)
        mounts.append(Mount(str(source), mount.mount_path, mount.read_only))
    return tuple(mounts)


def _open_up(function: Callable[..., object], name: str, error: object) -> None:
    try:
        os.chmod(os.path.dirname(name), stat.S_IRWXU)
        function(name)
    except OSError:
        pass
