"""The noisy client against a whole API server over TLS: what it gets, and how fast it is named."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubeglass.components.api.kinds import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.testing import RunningServer, running
from kubeglass.components.machinery.access import Access

LIST = "/api/v1/pods"
DUMP = "/debug/api_priority_and_fairness/"
SECONDS = 3.0


class Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nUser-Agent: load/1\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = b"".join([chunk async for chunk in self._chunks()])
        return int(head[0].split()[1]), headers, body

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readline(), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(server: RunningServer, tls: ssl.SSLContext) -> AsyncIterator[Connection]:
    host, port = server.url.removeprefix("https://").split(":")
    connection = Connection(*await asyncio.open_connection(host, int(port), ssl=tls))
    try:
        yield connection
    finally:
        connection.close()


def _tls(access: Access) -> ssl.SSLContext:
    tls = access.ssl_context()
    assert tls is not None
    return tls


JAIL_LEVEL = {
    "apiVersion": PRIORITY_LEVEL_CONFIGURATION.api_version,
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "jail"},
    "spec": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}},
    },
}
JAIL_SCHEMA = {
    "apiVersion": FLOW_SCHEMA.api_version,
    "kind": "FlowSchema",
    "metadata": {"name": "ban"},
    "spec": {
        "priorityLevelConfiguration": {"name": "jail"},
        "matchingPrecedence": 10,
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "elephant"}}],
                "resourceRules": [
                    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
                ],
            }
        ],
    },
}


async def _until_in_force(admin: Connection, level: str) -> None:
    async with asyncio.timeout(30):
        while True:
            _, _, levels = await admin.get(DUMP + "dump_priority_levels?format=json")
            if level in {row["name"] for row in json.loads(levels)}:
                return
            await asyncio.sleep(0.05)


async def test_the_culprit_is_named() -> None:
    """A banned user that lists from many connections harms nobody; every 429 is attributed, the user named in 2 s."""
    outcomes: Counter[int] = Counter()
    async with running(Options()) as server:
        elephant, admin_tls = _tls(server.access("elephant", ["zoo"])), _tls(server.access("admin"))
        async with connected(server, admin_tls) as admin:
            await _until_in_force(admin, "workload-low")
            await server.client().create(PRIORITY_LEVEL_CONFIGURATION, JAIL_LEVEL)
            await server.client().create(FLOW_SCHEMA, JAIL_SCHEMA)
            await _until_in_force(admin, "jail")
            stop = time.monotonic() + SECONDS

            async def list_in_a_loop() -> None:
                async with connected(server, elephant) as connection:
                    while time.monotonic() < stop:
                        status, headers, body = await connection.get(LIST)
                        outcomes[status] += 1
                        assert (status, body) == (429, b"Too many requests, please try again later.\n")
                        assert int(headers["retry-after"]) >= 1
                        assert headers["x-kubernetes-pf-flowschema-uid"]
                        assert headers["x-kubeglass-pf-rejected"].startswith("concurrency-limit; priority-level=jail")

            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(list_in_a_loop())
                await asyncio.sleep(2)
                _, _, talkers = await admin.get(DUMP + "dump_talkers?format=json")
                (loudest,) = json.loads(talkers)["jail"]
            assert (loudest["user"], loudest["userAgent"]) == ("elephant", "load/1")
            assert loudest["rejected"] == loudest["requests"] > 20
            _, _, rejections = await admin.get(DUMP + "dump_rejections?format=json&priorityLevel=jail")
        named = [record for record in json.loads(rejections) if record["digest"]["user"] == "elephant"]
        assert len(named) == outcomes[429] == outcomes.total()
        metric = {"priority_level": "jail", "flow_schema": "ban", "reason": "concurrency-limit"}
        registry = server.telemetry.metrics
        assert registry.value("apiserver_flowcontrol_rejected_requests_total", **metric) == len(named)
