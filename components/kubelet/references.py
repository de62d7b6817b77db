"""Reads the ConfigMaps, Secrets and volume claims that pods refer to, and asks for service account tokens.

An answer is kept for a second, so that the containers of one pod cost one request; a missing object is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

from kubeglass.components.api import objects
from kubeglass.components.api.errors import NotFound
from kubeglass.components.api.kinds import (
    CONFIG_MAP,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
)
from kubeglass.components.machinery.client import Client

_T = TypeVar("_T")
_KEPT_SECONDS = 1.0


class MissingReferenceError(Exception):
    """A pod refers to something that is not there; the text is fit for an event."""


class References:
    """Objects by reference, for one kubelet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[tuple[str, str, str], tuple[float, Any]] = {}

    async def config_map(self, namespace: str, name: str) -> objects.ConfigMap | None:
        return await self._read(CONFIG_MAP, objects.ConfigMap, namespace, name)

    async def secret(self, namespace: str, name: str) -> objects.Secret | None:
        return await self._read(SECRET, objects.Secret, namespace, name)

    async def claim(self, namespace: str, name: str) -> objects.PersistentVolumeClaim | None:
        return await self._read(PERSISTENT_VOLUME_CLAIM, objects.PersistentVolumeClaim, namespace, name)

    async def volume(self, name: str) -> objects.PersistentVolume | None:
        return await self._read(PERSISTENT_VOLUME, objects.PersistentVolume, "", name)

    async def token(self, pod: objects.Pod, audience: str, expiration_seconds: int) -> tuple[str, str]:
        """A token bound to the pod, and when it expires (RFC 3339)."""
        meta = pod.metadata
        request: Mapping[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": expiration_seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid},
            },
        }
        account = pod.spec.service_account_name or "default"
        answer = await self._client.create_subresource(SERVICE_ACCOUNT, account, meta.namespace, "token", request)
        status = answer["status"]
        return status["token"], status["expirationTimestamp"]

    async def _read(self, kind: Kind, view: type[_T], namespace: str, name: str) -> _T | None:
        now = asyncio.get_running_loop().time()
        key = (kind.plural, namespace, name)
        at, kept = self._kept.get(key, (-_KEPT_SECONDS, None))
        if now - at < _KEPT_SECONDS:
            found: _T = kept
            return found
        try:
            obj = await self._client.get(kind, name, namespace)
        except NotFound:
            return None
        if len(self._kept) > 1000:
            self._kept.clear()
        found = objects.decode(view, obj)
        self._kept[key] = (now, found)
        return found
