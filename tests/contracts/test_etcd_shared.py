"""An etcd that others use, too: what they write beside our prefix must not make our reads wait."""

from __future__ import annotations

import time

from tests.components.apiserver.conftest import serving

from kubeglass.components.apiserver.storage.etcd import EtcdBackend, EtcdOptions

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_foreign_writes_do_not_hold_up_consistent_reads(etcd_url: str) -> None:
    """The store's revision moves on without an event for us; etcd is asked how far our watch has come."""
    foreign = EtcdBackend(EtcdOptions((etcd_url,)))
    await foreign.start()
    async with serving(backend=EtcdBackend(EtcdOptions((etcd_url,)))) as api:
        took = []
        for number in range(5):
            revision = await foreign.create(f"/elsewhere/{time.time_ns()}-{number}", b"x")
            began = time.monotonic()
            answer = await api("GET", MAPS)
            took.append(time.monotonic() - began)
            assert int(answer.json["metadata"]["resourceVersion"]) >= revision
        metrics = (await api("GET", "/metrics", Accept_Encoding="identity")).body.decode()
    await foreign.close()
    assert sorted(took)[2] < 1.5, took
    reads = [
        line for line in metrics.splitlines() if "consistent_read_total" in line and 'resource="configmaps"' in line
    ]
    assert {line.partition("fallback=")[2][:7]: line.split()[-1] for line in reads} == {'"false"': "5", '"true",': "0"}


async def test_another_servers_write_is_seen_at_once(etcd_url: str) -> None:
    """Read from one server what the other has just acknowledged."""
    backends = [EtcdBackend(EtcdOptions((etcd_url,))) for _ in range(2)]
    async with serving(backend=backends[0]) as one, serving(backend=backends[1]) as other:
        for number in range(10):
            name = f"m{time.time_ns()}"
            assert (await one("POST", MAPS, {"metadata": {"name": name}})).status == 201
            assert (await other("GET", f"{MAPS}/{name}")).status == 200, number
