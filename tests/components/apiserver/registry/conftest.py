from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.admission.chain import Chain
from kubeglass.components.apiserver.admission.reader import BackendReader
from kubeglass.components.apiserver.metrics import AllocatorMetrics, CertificateMetrics
from kubeglass.components.apiserver.registry.allocation import Allocator, ServiceRanges
from kubeglass.components.apiserver.registry.certificates import IssuedCertificates
from kubeglass.components.apiserver.registry.context import DeleteOptions, WriteContext
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.registry.store import Store
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.telemetry.metrics.registry import Registry

NOW = 1_800_000_000.0


class Cluster:
    """A store over an empty in-memory backend, spoken to in decoded objects."""

    def __init__(self, *plugins: Any) -> None:
        self.backend = MemoryBackend()
        self.reader = BackendReader(self.backend)
        self.served = ServedKinds()
        self.now = NOW
        allocator = Allocator(ServiceRanges.of("10.96.0.0/16"), self.reader, AllocatorMetrics(Registry()))
        self.metrics = Registry()
        issued = IssuedCertificates(CertificateMetrics(self.metrics))
        self.store = Store(self.backend, self.served, Chain(plugins), allocator, lambda: self.now, updated=issued)
        self.context = WriteContext(UserInfo("admin", groups=("system:masters",)), field_validation="Strict")

    async def create(self, kind: Kind, obj: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        body = await self.store.create(self.context, kind, namespace if kind.namespaced else "", obj)
        return decode(body)

    async def update(
        self,
        kind: Kind,
        name: str,
        change: Callable[[dict[str, Any]], Any],
        subresource: str = "",
        namespace: str = "default",
    ) -> dict[str, Any]:
        def changed(current: dict[str, Any] | None) -> dict[str, Any]:
            assert current is not None
            result = change(current)
            return current if result is None else result

        at = namespace if kind.namespaced else ""
        body, _ = await self.store.update(self.context, kind, at, name, changed, subresource)
        return decode(body)

    async def delete(
        self, kind: Kind, name: str, namespace: str = "default", **options: Any
    ) -> tuple[dict[str, Any], bool]:
        at = namespace if kind.namespaced else ""
        body, gone = await self.store.delete(self.context, kind, at, name, DeleteOptions(**options))
        return decode(body), gone

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> dict[str, Any] | None:
        return await self.reader.get(kind, namespace if kind.namespaced else "", name)


def decode(body: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def pod(name: str = "web", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "nginx:1.27"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}
