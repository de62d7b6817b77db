"""Names of Services and Pods, as the DNS specification gives them, and as a resolver sees them."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from kubeglass.components.api.kinds import ENDPOINT_SLICE, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Service, decode
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.dns.dns import DnsServer
from kubeglass.components.dns.records import AAAA, CNAME, PTR, SRV, TXT, A, Answer, Record, Zone, records
from kubeglass.components.dns.wire import MalformedQuery, read_query, write_answer
from kubeglass.components.machinery.process import start


def service(name: str, **spec: Any) -> Service:
    return decode(Service, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def slice_of(name: str, *endpoints: dict[str, Any]) -> EndpointSlice:
    return decode(
        EndpointSlice,
        {
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": list(endpoints),
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        },
    )


ZONE = Zone(
    "cluster.local",
    records(
        [
            service("web", clusterIP="127.96.0.5", ports=[{"name": "http", "port": 80}]),
            service("db", clusterIP="None"),
            service("far", type="ExternalName", externalName="example.com"),
        ],
        [
            slice_of(
                "db",
                {"addresses": ["10.0.0.1"], "hostname": "db-0"},
                {"addresses": ["10.0.0.2"]},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": False}},
            )
        ],
        "cluster.local",
    ),
)


@pytest.mark.parametrize(
    ("name", "type", "values"),
    [
        ("web.default.svc.cluster.local", A, ["127.96.0.5"]),
        ("WEB.default.svc.cluster.local.", A, ["127.96.0.5"]),
        ("web.default.svc.cluster.local", AAAA, []),
        ("_http._tcp.web.default.svc.cluster.local", SRV, [(0, 100, 80, "web.default.svc.cluster.local")]),
        ("5.0.96.127.in-addr.arpa", PTR, ["web.default.svc.cluster.local"]),
        ("db.default.svc.cluster.local", A, ["10.0.0.1", "10.0.0.2"]),
        ("db-0.db.default.svc.cluster.local", A, ["10.0.0.1"]),
        ("10-0-0-2.db.default.svc.cluster.local", A, ["10.0.0.2"]),
        ("far.default.svc.cluster.local", A, ["example.com"]),
        ("10-1-2-3.default.pod.cluster.local", A, ["10.1.2.3"]),
        ("dns-version.cluster.local", TXT, ["1.1.0"]),
        ("default.svc.cluster.local", A, []),
    ],
)
def test_names(name: str, type: int, values: list[Any]) -> None:
    """Each name has its records; a name with others below it exists and is empty."""
    answer = ZONE.answer(name, type)
    assert (answer.ours, answer.code, [record.value for record in answer.records]) == (True, 0, values)


def test_what_is_not_there() -> None:
    """Unknown names of the cluster do not exist; names elsewhere are not ours; ExternalName is an alias."""
    assert ZONE.answer("nope.default.svc.cluster.local", A) == Answer(True, 3)
    assert not ZONE.answer("example.com", A).ours
    assert ZONE.answer("far.default.svc.cluster.local", A).records[0].type == CNAME


def question(name: str, type: int = A) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\x00" + struct.pack(">2H", type, 1)


def test_the_wire() -> None:
    """A question is repeated, its answer has the address in four bytes; too much is cut and marked."""
    query = read_query(question("web.default.svc.cluster.local"))
    assert (query.id, query.name, query.type) == (7, "web.default.svc.cluster.local", A)
    response = write_answer(query, ZONE.answer(query.name, A), "cluster.local", 512)
    assert struct.unpack_from(">6H", response) == (7, 0x8580, 1, 1, 0, 0)
    assert response.endswith(bytes((127, 96, 0, 5)))
    many = Answer(True, records=tuple(Record("a.cluster.local", A, f"10.0.0.{n}") for n in range(50)))
    cut = write_answer(query, many, "cluster.local", 512)
    assert struct.unpack_from(">6H", cut)[1] & 0x200 and len(cut) < 512
    for broken in (b"", b"\x00" * 11, question("a")[:-3], b"\xff" * 40):
        with pytest.raises(MalformedQuery):
            read_query(broken)


async def test_a_new_service_resolves() -> None:
    """Over UDP and TCP, from the moment the Service is known."""
    async with running() as server, asyncio.TaskGroup() as group:
        client = server.client()
        telemetry = quiet_telemetry()
        dns = DnsServer(client, telemetry, ("127.96.9.9", 10053), "cluster.local", ())
        task = await start(group, dns.run, "dns")
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "fresh", "namespace": "default"},
            "spec": {"ports": [{"port": 80}]},
        }
        created = await client.create(SERVICE, body, "default")
        address = bytes(int(part) for part in created["spec"]["clusterIP"].split("."))
        asked = question("fresh.default.svc.cluster.local")

        async def over_tcp() -> bytes:
            reader, writer = await asyncio.open_connection("127.96.9.9", 10053)
            writer.write(len(asked).to_bytes(2, "big") + asked)
            response = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            writer.close()
            return response

        async with asyncio.timeout(10):
            while not (response := await over_tcp()).endswith(address):
                await asyncio.sleep(0.01)
        assert response[:2] == asked[:2]
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Asker(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                arrived.set_result(data)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Asker, remote_addr=("127.96.9.9", 10053)
        )
        transport.sendto(asked)
        async with asyncio.timeout(5):
            assert await arrived == response
        transport.close()
        shown = await client.get(SERVICE, "kube-dns", "kube-system")
        assert shown["spec"]["clusterIP"] == "127.96.9.9"
        (found,) = (await client.list(ENDPOINT_SLICE, "kube-system")).items
        assert found["endpoints"][0]["addresses"] == ["127.96.9.9"] and found["ports"][0]["port"] == 10053
        assert (
            telemetry.metrics.value(
                "coredns_dns_requests_total",
                server="dns://127.96.9.9:10053",
                zone="cluster.local.",
                view="",
                proto="udp",
                family="1",
                type="A",
            )
            == 1
        )
        task.cancel()
