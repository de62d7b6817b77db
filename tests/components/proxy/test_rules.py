"""Which endpoints a Service's addresses forward to."""

from __future__ import annotations

from typing import Any

import msgspec

from kubeglass.components.api.objects import EndpointSlice, Service, decode
from kubeglass.components.proxy.balancing import Balancer
from kubeglass.components.proxy.rules import Backend, Frontend, Here, Rule, changed, routes_alike, rules

HERE = Here("node-1", ("127.64.0.1",), zone="a")


def service(**spec: Any) -> Service:
    defaults = {"type": "ClusterIP", "clusterIP": "127.96.0.5", "ports": [{"port": 80, "protocol": "TCP"}]}
    return decode(Service, {"metadata": {"name": "web", "namespace": "default"}, "spec": {**defaults, **spec}})


def endpoint(ip: str, node: str = "node-1", **conditions: Any) -> dict[str, Any]:
    extra = {key: conditions.pop(key) for key in ("hints",) if key in conditions}
    return {"addresses": [ip], "nodeName": node, "conditions": conditions or {"ready": True}, **extra}


def slice_of(*endpoints: dict[str, Any], port: int = 8080, name: str = "") -> EndpointSlice:
    return decode(
        EndpointSlice,
        {
            "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": list(endpoints),
            "ports": [{"name": name, "port": port, "protocol": "TCP"}],
        },
    )


def backends(svc: Service, *slices: EndpointSlice, here: Here = HERE) -> dict[str, list[str]]:
    return {str(rule.frontend): [b.ip for b in rule.backends] for rule in rules([svc], slices, here).rules}


def test_ready_endpoints_only() -> None:
    """Endpoints that are not ready get no traffic; absent conditions mean ready."""
    found = slice_of(endpoint("1"), endpoint("2", ready=False), {"addresses": ["3"], "nodeName": "node-2"})
    assert backends(service(), found) == {"127.96.0.5:80/TCP": ["1", "3"]}


def test_terminating_endpoints_are_the_last_resort() -> None:
    """While nothing is ready, Pods that terminate and still serve get the traffic."""
    dying = endpoint("1", ready=False, serving=True, terminating=True)
    assert backends(service(), slice_of(dying, endpoint("2"))) == {"127.96.0.5:80/TCP": ["2"]}
    assert backends(service(), slice_of(dying, endpoint("2", ready=False))) == {"127.96.0.5:80/TCP": ["1"]}


def test_a_slice_that_leads_to_the_same_places_is_no_news() -> None:
    """Labels and annotations change nothing; endpoints, ports and the Service they belong to do."""
    before = slice_of(endpoint("1"))
    labelled = msgspec.structs.replace(
        before, metadata=msgspec.structs.replace(before.metadata, labels={**before.metadata.labels, "team": "a"})
    )
    moved = msgspec.structs.replace(before, metadata=msgspec.structs.replace(before.metadata, labels={}))
    assert routes_alike(before, labelled)
    others = (slice_of(endpoint("2")), slice_of(endpoint("1", ready=False)), slice_of(endpoint("1"), port=81), moved)
    assert not any(routes_alike(before, other) for other in others)


def test_local_policies() -> None:
    """Local keeps traffic on this node, separately for traffic from inside and outside, and counts who is left dry."""
    found = slice_of(endpoint("1", node="node-1"), endpoint("2", node="node-2"))
    ports = [{"port": 80, "nodePort": 30080}]
    svc = service(type="NodePort", ports=ports, externalTrafficPolicy="Local")
    assert backends(svc, found) == {"127.64.0.1:30080/TCP": ["1"], "127.96.0.5:80/TCP": ["1", "2"]}
    svc = service(type="NodePort", ports=ports, internalTrafficPolicy="Local")
    elsewhere = Here("node-3", ("127.64.0.3",))
    ruleset = rules([svc], [found], elsewhere)
    assert [len(rule.backends) for rule in ruleset.rules] == [2, 0]
    assert (ruleset.no_local_internal, ruleset.no_local_external) == (1, 0)


def test_hints_keep_traffic_in_the_zone() -> None:
    """When every endpoint has a hint, those for our zone are used; if none is for us, all are."""
    ours = endpoint("1", hints={"forZones": [{"name": "a"}]})
    theirs = endpoint("2", hints={"forZones": [{"name": "b"}]})
    assert backends(service(), slice_of(ours, theirs)) == {"127.96.0.5:80/TCP": ["1"]}
    assert backends(service(), slice_of(ours, theirs, endpoint("3"))) == {"127.96.0.5:80/TCP": ["1", "2", "3"]}
    assert backends(service(), slice_of(theirs)) == {"127.96.0.5:80/TCP": ["2"]}


def test_no_frontend() -> None:
    """Headless and external-name Services forward nothing; one without endpoints has a rule without backends."""
    assert backends(service(clusterIP="None"), slice_of(endpoint("1"))) == {}
    assert backends(service(type="ExternalName", clusterIP=""), slice_of(endpoint("1"))) == {}
    assert backends(service()) == {"127.96.0.5:80/TCP": []}


def test_ports_are_matched_by_name() -> None:
    """A Service port goes to the slice port of the same name."""
    svc = service(ports=[{"name": "http", "port": 80}, {"name": "admin", "port": 81}])
    made = rules([svc], [slice_of(endpoint("1"), port=8080, name="http")], HERE).rules
    assert [(r.service, r.backends) for r in made] == [
        ("default/web:http", (Backend("1", 8080, "node-1"),)),
        ("default/web:admin", ()),
    ]


def test_changed() -> None:
    """Only what differs is touched."""
    one = Rule(Frontend("1", 80), "a", (Backend("x", 1),))
    two = Rule(Frontend("2", 80), "b", ())
    assert changed({one.frontend: one, two.frontend: two}, [one]) == ([], [two.frontend])


def test_round_robin() -> None:
    """Connections go to the backends in turn, and the others are the fallback."""
    rule = Rule(Frontend("1", 80), "a", tuple(Backend(str(i), 1) for i in range(3)))
    balancer = Balancer(rule)
    firsts = [balancer.choices("client", 0.0)[0].ip for _ in range(6)]
    assert firsts == ["0", "1", "2", "0", "1", "2"]
    assert len(balancer.choices("client", 0.0)) == 3


def test_client_affinity_is_shared_without_talking() -> None:
    """Two proxies send a client to the same backend, clients spread, and only a lost backend's clients move."""
    all_three = tuple(Backend(str(i), 1) for i in range(3))
    one, two = (Balancer(Rule(Frontend("1", 80), "a", all_three, 10)) for _ in range(2))
    clients = [f"10.0.0.{i}" for i in range(60)]
    before = {client: one.choices(client, 0.0)[0] for client in clients}
    assert before == {client: two.choices(client, 5.0)[0] for client in clients}
    assert set(before.values()) == set(all_three)
    one.update(Rule(Frontend("1", 80), "a", all_three[:2], 10))
    after = {client: one.choices(client, 1.0)[0] for client in clients}
    assert all(after[client] == before[client] for client in clients if before[client] in all_three[:2])
