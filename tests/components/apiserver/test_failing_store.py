"""What the metrics say when the store does not do as it is told."""

from __future__ import annotations

import pytest

from kubeglass.components.api.errors import AlreadyExists, ApiError
from kubeglass.components.api.kinds import CONFIG_MAP
from kubeglass.components.apiserver.storage.backend import StoreUnavailable
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.testing import running


class Broken(MemoryBackend):
    """A store that can be unplugged."""

    unplugged = False

    async def create(self, key: str, value: bytes, ttl_seconds: float = 0) -> int:
        if self.unplugged:
            raise StoreUnavailable("the disk is gone")
        return await super().create(key, value, ttl_seconds)


def samples(exposition: bytes, name: str, *labels: str) -> list[float]:
    lines = exposition.decode().splitlines()
    return [
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(f"{name}{{") and all(label in line for label in labels)
    ]


async def test_a_failing_store_is_counted_where_operators_look() -> None:
    """A write that the store refuses is a 500 in apiserver_request_total and a failed call of the store; a create that
    finds its name taken is neither."""
    backend = Broken()
    configmap = {"metadata": {"name": "a", "namespace": "default"}}
    async with running(backend=backend) as server:
        client = server.client()
        await client.create(CONFIG_MAP, configmap, "default")
        with pytest.raises(AlreadyExists):
            await client.create(CONFIG_MAP, configmap, "default")
        _, before = server.telemetry.metrics.expose("")
        backend.unplugged = True
        with pytest.raises(ApiError, match="the disk is gone") as caught:
            await client.create(CONFIG_MAP, {"metadata": {"name": "b", "namespace": "default"}}, "default")
        _, after = server.telemetry.metrics.expose("")
    wanted = ('resource="configmaps"', 'operation="create"')
    assert caught.value.code == 500
    assert samples(before, "etcd_request_errors_total", *wanted) == []
    assert samples(after, "etcd_request_errors_total", *wanted) == [1]
    assert samples(after, "apiserver_request_total", 'resource="configmaps"', 'code="500"') == [1]
