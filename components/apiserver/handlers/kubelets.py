"""How to reach a node's kubelet: its address from the Node object, our client certificate, one raw connection each.

The response head and everything behind it are passed on as bytes, so upgrades (exec, attach, port-forward) and
followed logs work alike. Upstream: k8s.io/kubernetes/pkg/kubelet/client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.errors import ServiceUnavailable
from kubeglass.components.apiserver.storage.reads import Reads

ADDRESS_TYPES = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
_CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a kubelet listens."""

    host: str
    port: int


@dataclass(slots=True)
class Backend:
    """An open connection to a server behind the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> bytes:
        return await self.reader.read(_CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()


class Kubelets:
    """Connections to kubelets."""

    def __init__(
        self,
        reads: Reads,
        ssl_context: ssl.SSLContext | None,
        address_types: tuple[str, ...] = ADDRESS_TYPES,
    ) -> None:
        self._reads = reads
        self._ssl = ssl_context
        self._address_types = address_types

    async def address(self, node: str) -> Address:
        """Raises NotFound for an unknown node, ServiceUnavailable for one without an address."""
        record = await self._reads.get(kinds.NODE, "", node)
        if record is None:
            raise errors.not_found("nodes", "", node)
        status: Mapping[str, Any] = record.decode().get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or 10250
        known = {entry.get("type"): entry.get("address") for entry in status.get("addresses") or ()}
        for wanted in self._address_types:
            if known.get(wanted) and (wanted != "Hostname" or len(known) == 1):
                return Address(known[wanted], int(port))
        raise ServiceUnavailable(f"no preferred addresses found; known addresses: {list(known.items())}")

    async def connect(self, node: str) -> Backend:
        """A connection to the node's kubelet. Raises ServiceUnavailable naming it."""
        address = await self.address(node)
        return await connect(address.host, address.port, self._ssl)


async def connect(host: str, port: int, ssl_context: ssl.SSLContext | None) -> Backend:
    """An open connection. Raises ServiceUnavailable with the system's reason."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=ssl_context, server_hostname=host if ssl_context else None
            )
    except TimeoutError as error:
        raise ServiceUnavailable(f"dial tcp {host}:{port}: i/o timeout") from error
    except ssl.SSLError as error:
        raise ServiceUnavailable(f"tls: failed to verify certificate of {host}:{port}: {error.reason}") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceUnavailable(f"dial tcp {host}:{port}: connect: {reason}") from error
    return Backend(reader, writer)
