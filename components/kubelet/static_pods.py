"""Pods that a folder of manifests names, run without asking the API server; it is shown a mirror Pod of each.

A mirror Pod is owned by the Node and says by annotation which static Pod it shows. Deleting it changes nothing: it is
made again. Upstream: pkg/kubelet/config/file.go and common.go, pkg/kubelet/pod/mirror_client.go.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kubeglass.components.api import defaults
from kubeglass.components.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeglass.components.api.kinds import POD
from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry

HASH = "kubernetes.io/config.hash"
MIRROR = "kubernetes.io/config.mirror"
SOURCE = "kubernetes.io/config.source"
SEEN = "kubernetes.io/config.seen"
_LOOK_SECONDS = 1.0
Manifest = dict[str, Any]


class ManifestError(Exception):
    """A manifest that is no Pod; the text names the file."""


def is_mirror(pod: Pod) -> bool:
    """Whether a Pod of the API server only shows a static one."""
    return MIRROR in pod.metadata.annotations


def is_static(pod: Pod) -> bool:
    """Whether a Pod comes from a manifest."""
    return pod.metadata.annotations.get(SOURCE) == "file" and not is_mirror(pod)


def read(file: Path, node_name: str) -> Manifest:
    """The static Pod in a file, named, placed and defaulted as upstream does. Raises ManifestError."""
    try:
        content = file.read_bytes()
        pod = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise ManifestError(f"{file}: {error}") from error
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise ManifestError(f"{file}: couldn't parse as pod: the object is not a v1 Pod")
    meta = pod.setdefault("metadata", {})
    if not meta.get("name") or not (pod.get("spec") or {}).get("containers"):
        raise ManifestError(f"{file}: invalid pod: metadata.name and spec.containers are required")
    uid = hashlib.md5(node_name.encode() + str(file).encode() + content, usedforsecurity=False).hexdigest()
    meta["name"] = f"{meta['name']}-{node_name}"
    meta.setdefault("namespace", "default")
    meta["uid"] = uid
    meta["annotations"] = {**(meta.get("annotations") or {}), HASH: uid, SOURCE: "file"}
    spec = pod["spec"]
    spec["nodeName"] = node_name
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    defaults.apply(POD, pod)
    return pod


def mirror_of(manifest: Manifest, node_name: str, node_uid: str) -> Manifest:
    """What the API server is shown of a static Pod."""
    meta = manifest["metadata"]
    annotations = {**meta["annotations"], MIRROR: meta["annotations"][HASH]}
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid, "controller": True}
    kept = {key: value for key, value in meta.items() if key != "uid"}
    shown = {**kept, "annotations": annotations, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": shown, "spec": manifest["spec"]}


class StaticPods:
    """The manifests of one folder. `on_add` is given a Pod to run (False: not yet), `on_remove` one to end."""

    def __init__(
        self,
        folder: Path | None,
        node_name: str,
        node_uid: Callable[[], str],
        client: Client,
        informer: Informer[Pod],
        telemetry: Telemetry,
        on_add: Callable[[Pod], bool],
        on_remove: Callable[[Pod], None],
    ) -> None:
        self._folder = folder
        self._node_name = node_name
        self._node_uid = node_uid
        self._client = client
        self._informer = informer
        self._log = telemetry.log
        self._on_add = on_add
        self._on_remove = on_remove
        self._known: dict[str, tuple[Manifest, Pod]] = {}  # by uid
        self._complained: set[str] = set()

    # -- what there is, for those who ask for Pods of the node --------------------------------------------------------

    def get(self, key: str) -> Pod | None:
        """A Pod of the node; a static one as it really runs, not its mirror."""
        return next((pod for _, pod in self._known.values() if pod.key == key), None) or self._informer.get(key)

    def list(self) -> list[Pod]:
        """Every Pod of the node; static ones in place of their mirrors."""
        return [*(pod for pod in self._informer.list() if not is_mirror(pod)), *(p for _, p in self._known.values())]

    def mirrors(self) -> int:
        """How many mirror Pods the API server has."""
        return sum(is_mirror(pod) for pod in self._informer.list())

    def uid_on_server(self, pod: Pod) -> str | None:
        """Under which uid the API server knows a Pod: a static one by its mirror, None while there is none."""
        if not is_static(pod):
            return pod.metadata.uid
        mirror = self._informer.get(pod.key)
        shown = mirror is not None and mirror.metadata.annotations.get(MIRROR) == pod.metadata.uid
        return mirror.metadata.uid if mirror is not None and shown else None

    # -- following ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the folder until cancelled."""
        while self._folder is not None:
            self.look()
            for manifest, pod in tuple(self._known.values()):
                await self._attempt(self._show, manifest, pod)
            for mirror in [pod for pod in self._informer.list() if is_mirror(pod)]:
                if mirror.metadata.annotations[MIRROR] not in self._known:
                    await self._attempt(self._hide, mirror)
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Read the folder now."""
        if self._folder is None:
            return
        found = {manifest["metadata"]["uid"]: manifest for manifest in self._read_all(self._folder)}
        for uid in [uid for uid in self._known if uid not in found]:
            _, pod = self._known.pop(uid)
            self._log.v(2).info("SyncLoop REMOVE", source="file", pods=[pod.key])
            self._on_remove(pod)
        for uid, manifest in found.items():
            if uid not in self._known:
                manifest["metadata"]["annotations"][SEEN] = clock.now_rfc3339()
                pod = decode(Pod, manifest)
                if self._on_add(pod):
                    self._known[uid] = (manifest, pod)
                    self._log.v(2).info("SyncLoop ADD", source="file", pods=[pod.key])

    def _read_all(self, folder: Path) -> Iterator[Manifest]:
        try:
            files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
        except OSError as error:
            self._complain(f"{folder}: {error}")
            return
        for file in files:
            try:
                manifest = read(file, self._node_name)
                decode(Pod, manifest)
            except (ManifestError, msgspec.ValidationError) as error:
                self._complain(str(error))
            else:
                yield manifest

    def _complain(self, text: str) -> None:
        """Once per complaint: the folder is looked at every second."""
        if text not in self._complained:
            self._complained.add(text)
            self._log.error(None, "Unable to read config path", reason=text)

    async def _attempt(self, act: Callable[..., Any], *subject: Any) -> None:
        try:
            await act(*subject)
        except (AlreadyExists, Conflict, NotFound):
            return  # the informer will tell
        except (ApiError, Unreachable) as error:
            self._log.v(2).info("Mirror pod not written, will retry", reason=str(error))

    async def _show(self, manifest: Manifest, pod: Pod) -> None:
        """Make the mirror Pod, or make way for it."""
        mirror = self._informer.get(pod.key)
        if mirror is None and self._node_uid():
            shown = mirror_of(json.loads(json.dumps(manifest)), self._node_name, self._node_uid())
            await self._client.create(POD, shown, pod.metadata.namespace)
        elif mirror is not None and (
            mirror.metadata.deletion_timestamp or mirror.metadata.annotations.get(MIRROR) != pod.metadata.uid
        ):
            await self._hide(mirror)

    async def _hide(self, mirror: Pod) -> None:
        meta = mirror.metadata
        await self._client.delete(POD, meta.name, meta.namespace, grace_period_seconds=0, uid=meta.uid)
