"""How rules and admission look at other objects: decoded, current, never changed in place."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.storage.backend import Backend, Entry, with_resource_version

Object = dict[str, Any]


class Reader(Protocol):
    """Reads by kind."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object as stored, with its resourceVersion; None when there is none."""

    async def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        """Every object of a namespace, or of all."""


class BackendReader:
    """Reads straight from the store: always the newest state."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        entry = await self._backend.get(kind.storage_key(namespace, name))
        return decoded(entry) if entry is not None else None

    async def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        prefix = kind.storage_prefix() + (f"{namespace}/" if namespace and kind.namespaced else "")
        page = await self._backend.list(prefix)
        return [decoded(entry) for entry in page.entries]


def decoded(entry: Entry) -> Object:
    """The object of an entry, resourceVersion included."""
    obj: Object = msgspec.json.decode(with_resource_version(entry.value, entry.revision))
    return obj


def encoded(obj: Object, kind: Kind) -> bytes:
    """An object as bytes at rest: kind, apiVersion and metadata first, no resourceVersion."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    rest = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion", "metadata")}
    return msgspec.json.encode({"kind": kind.kind, "apiVersion": kind.stored_api_version, "metadata": metadata, **rest})
