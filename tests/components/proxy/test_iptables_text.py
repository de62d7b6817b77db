"""The rules of the iptables mode as text, and what a sync writes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubeglass.components.proxy.modes.iptables_plan import FULL_SYNC_SECONDS, LARGE_CLUSTER_ENDPOINTS, Planner, Restore
from kubeglass.components.proxy.modes.iptables_text import Config, canaries, chain_name, port_text, removal
from kubeglass.components.proxy.rules import Backend, ServicePort

CONFIG = Config(("127.64.0.1",), "127.128.0.0/16")
A, B = Backend("127.128.1.5", 80, "node-1"), Backend("127.128.2.6", 80, "node-2")
WEB = ServicePort("ns1/svc1:p80", "TCP", 80, ("127.96.0.5",), anywhere=(A, B), here=(A,))
SVC = "KUBE-SVC-XPGD46QRK7WJZT7O"


def test_chains_are_named_as_upstream_names_them() -> None:
    """Names that every user of kube-proxy can look up: SHA-256 of name, protocol and endpoint, in base32."""
    assert chain_name("KUBE-SVC-", "ns1/svc1:p80", "tcp") == SVC
    assert chain_name("KUBE-SEP-", "ns1/svc1:p80", "tcp", "10.180.0.1:80") == "KUBE-SEP-SXIVWICOYRO3J4NJ"
    assert chain_name("KUBE-SVC-", "default/kubernetes:https", "tcp") == "KUBE-SVC-NPX46M4PTMTKRN6Y"


def lines(port: ServicePort, config: Config = CONFIG) -> list[str]:
    """All rules of a port, chain names shortened to what they are."""
    made = port_text(port, config)
    names = {name: name[:8] for name in made.chains if not name.startswith("KUBE-SEP")}
    names |= {chain_name("KUBE-SEP-", port.name, "tcp", f"{b.ip}:{b.port}"): f"SEP-{b.ip[-1]}" for b in (A, B)}
    text = "\n".join((*made.filter_entries, *made.nat_entries, *made.rules))
    for name, short in names.items():
        text = text.replace(name, short)
    return text.replace("-m comment --comment ", "# ").splitlines()


def test_a_cluster_ip() -> None:
    """Entered by its address, masqueraded for strangers and for itself, split at random, sent on by DNAT."""
    assert lines(WEB) == [
        '-A KUBE-SERVICES # "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 127.96.0.5 --dport 80 -j KUBE-SVC',
        '-A KUBE-SVC # "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 127.96.0.5 --dport 80'
        " ! -s 127.128.0.0/16 -j KUBE-MARK-MASQ",
        '-A KUBE-SVC # "ns1/svc1:p80 -> 127.128.1.5:80" -m statistic --mode random --probability 0.5000000000 -j SEP-5',
        '-A KUBE-SVC # "ns1/svc1:p80 -> 127.128.2.6:80" -j SEP-6',
        '-A SEP-5 # "ns1/svc1:p80" -s 127.128.1.5 -j KUBE-MARK-MASQ',
        '-A SEP-5 # "ns1/svc1:p80" -m tcp -p tcp -j DNAT --to-destination 127.128.1.5:80',
        '-A SEP-6 # "ns1/svc1:p80" -s 127.128.2.6 -j KUBE-MARK-MASQ',
        '-A SEP-6 # "ns1/svc1:p80" -m tcp -p tcp -j DNAT --to-destination 127.128.2.6:80',
    ]


def test_a_node_port_with_local_policy_and_affinity() -> None:
    """Traffic from outside stays here, that of Pods does not; clients are remembered under the endpoint's name."""
    port = replace(WEB, node_port=30080, affinity_seconds=10, external_local=True)
    made = [line for line in lines(port) if "SVC" not in line.split("#")[0] and "MASQ" not in line]
    assert made == [
        '-A KUBE-SERVICES # "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 127.96.0.5 --dport 80 -j KUBE-SVC',
        '-A KUBE-NODEPORTS # "ns1/svc1:p80" -m tcp -p tcp --dport 30080 -j KUBE-EXT',
        '-A KUBE-EXT # "pod traffic for ns1/svc1:p80 external destinations" -s 127.128.0.0/16 -j KUBE-SVC',
        "-A KUBE-EXT -j KUBE-SVL",
        '-A KUBE-SVL # "ns1/svc1:p80 -> 127.128.1.5:80" -m recent --name SEP-5 --rcheck --seconds 10 --reap -j SEP-5',
        '-A KUBE-SVL # "ns1/svc1:p80 -> 127.128.1.5:80" -j SEP-5',
        '-A SEP-5 # "ns1/svc1:p80" -m recent --name SEP-5 --set -m tcp -p tcp -j DNAT --to-destination 127.128.1.5:80',
        '-A SEP-6 # "ns1/svc1:p80" -m recent --name SEP-6 --set -m tcp -p tcp -j DNAT --to-destination 127.128.2.6:80',
    ]


def test_all_kinds_of_addresses_from_outside() -> None:
    """External and load balancer addresses and node ports lead to one chain, which masquerades first."""
    port = replace(WEB, external_ips=("192.0.2.1",), load_balancer_ips=("192.0.2.2",), node_port=30080)
    made = lines(port)
    assert [line for line in made if "KUBE-EXT" in line] == [
        '-A KUBE-SERVICES # "ns1/svc1:p80 external IP" -m tcp -p tcp -d 192.0.2.1 --dport 80 -j KUBE-EXT',
        '-A KUBE-SERVICES # "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 192.0.2.2 --dport 80 -j KUBE-EXT',
        '-A KUBE-NODEPORTS # "ns1/svc1:p80" -m tcp -p tcp --dport 30080 -j KUBE-EXT',
        '-A KUBE-EXT # "masquerade traffic for ns1/svc1:p80 external destinations" -j KUBE-MARK-MASQ',
        "-A KUBE-EXT -j KUBE-SVC",
    ]


@pytest.mark.parametrize(("protocol", "target"), [("TCP", "REJECT --reject-with tcp-reset"), ("UDP", "REJECT")])
def test_no_endpoints(protocol: str, target: str) -> None:
    """Every address refuses, and there are no chains."""
    port = replace(WEB, protocol=protocol, anywhere=(), here=(), node_port=30080)
    made, word = port_text(port, CONFIG), protocol.lower()
    assert (made.nat_entries, made.chains, made.rules) == ((), (), ())
    comment = '-m comment --comment "ns1/svc1:p80 has no endpoints"'
    assert made.filter_entries == (
        f"-A KUBE-SERVICES {comment} -m {word} -p {word} -d 127.96.0.5 --dport 80 -j {target}",
        f"-A KUBE-EXTERNAL-SERVICES {comment} -m {word} -p {word} -d 127.64.0.1 --dport 30080 -j {target}",
    )


def test_no_local_endpoints() -> None:
    """A Local policy without an endpoint here drops, as if the packet had never arrived."""
    port = replace(WEB, here=(), internal_local=True, external_local=True, node_port=30080)
    made = lines(port)
    assert [line.split("#")[1] for line in made if line.endswith("DROP")] == [
        ' "ns1/svc1:p80 has no local endpoints" -m tcp -p tcp -d 127.96.0.5 --dport 80 -j DROP',
        ' "ns1/svc1:p80 has no local endpoints" -m tcp -p tcp -d 127.64.0.1 --dport 30080 -j DROP',
    ]
    assert not [line for line in made if "cluster IP" in line]


def test_masquerade_all() -> None:
    """Whoever asks a cluster IP, Pods too, does it in the node's name."""
    made = lines(WEB, replace(CONFIG, masquerade_all=True))
    assert made[1] == (
        '-A KUBE-SVC # "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 127.96.0.5 --dport 80 -j KUBE-MARK-MASQ'
    )
    assert not [line for line in lines(WEB, Config(("127.64.0.1",))) if "cluster IP" in line and "MASQ" in line]


def test_what_is_no_address_is_left_out() -> None:
    """One Service with a nonsense address must not keep all others from being carried, nor add rules of its own."""
    evil = Backend("1.2.3.4\n-A INPUT -j DROP", 80)
    port = replace(WEB, external_ips=("::1", "300.1.1.1", "192.0.2.1"), anywhere=(A, evil))
    made = "\n".join(lines(port))
    assert "192.0.2.1" in made
    assert not any(word in made for word in ("::1", "300.1", "INPUT", "statistic"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 'ns1/svc1:p"\n-A INPUT -j DROP'},
        {"protocol": "tcp -j ACCEPT"},
        {"port": 70000},
        {"node_port": -1},
        {"anywhere": (Backend("127.128.1.5", 0),)},
        {"affinity_seconds": 10**10},
    ],
    ids=str,
)
def test_nothing_but_what_is_valid_is_fed_to_iptables(wrong: dict[str, Any]) -> None:
    """Such a Service has no rule at all, is told of once, and the others are carried."""
    port = replace(WEB, **wrong)
    planner = Planner(CONFIG)
    restore = synced(planner, port, replace(WEB, name="ns1/other"), found=set())
    assert port_text(port, CONFIG).rules == ()
    assert "ns1/svc1" not in restore.text
    assert "ns1/other" in restore.text
    assert restore.refused == (port.name,)
    assert planner.plan((port,), None).refused == ()


# -- what a sync writes ----------------------------------------------------------------------------------------------


def synced(planner: Planner, *ports: ServicePort, found: set[str] | None = None, now: float = 0.0) -> Restore:
    restore = planner.plan(ports, found)
    planner.done(restore, now)
    return restore


def test_a_full_sync_stands_as_upstreams() -> None:
    """Chain lines first, then rules, filter before nat; the node ports' rule is the last of KUBE-SERVICES."""
    restore = synced(Planner(CONFIG), WEB, found=set())
    assert restore.text.startswith("*filter\n:KUBE-SERVICES - [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\nCOMMIT\n*nat\n")
    assert restore.text.endswith("\nCOMMIT\n")
    entries = [line for line in restore.text.splitlines() if line.startswith("-A KUBE-SERVICES")]
    assert entries[-1].endswith('NOTE: this must be the last rule in this chain" -d 127.64.0.1 -j KUBE-NODEPORTS')
    rules = [line for line in restore.text.splitlines() if line.startswith("-A")]
    assert restore.rules_total == restore.rules_last == {"filter": 0, "nat": len(rules)}
    assert (restore.full, restore.endpoints, restore.opened, restore.updated, restore.closed) == (True, 2, 1, 0, 0)


def test_a_partial_sync_writes_the_chains_of_what_changed() -> None:
    """Entries of all Services, own chains of the changed one; what stands is counted, too."""
    planner = Planner(CONFIG)
    other = replace(WEB, name="ns1/other", cluster_ips=("127.96.0.6",))
    full = synced(planner, WEB, other, found=set())
    less = replace(other, anywhere=(A,))
    partial = synced(planner, WEB, less)
    assert not partial.full
    assert (partial.opened, partial.updated, partial.closed) == (0, 1, 0)
    assert "ns1/svc1:p80 cluster IP" in partial.text
    assert f":{SVC} " not in partial.text
    assert f":{chain_name('KUBE-SVC-', 'ns1/other', 'tcp')} - [0:0]\n" in partial.text
    gone = chain_name("KUBE-SEP-", "ns1/other", "tcp", f"{B.ip}:{B.port}")
    assert partial.text.endswith(f"\n-X {gone}\nCOMMIT\n")
    assert partial.rules_total["nat"] == full.rules_total["nat"] - 3  # its jump and its two rules
    written = [line for line in partial.text.splitlines() if line.startswith("-A")]
    assert partial.rules_last["nat"] == len(written) < partial.rules_total["nat"]


def test_nothing_changed_nothing_but_the_shared_chains_is_written() -> None:
    """As upstream: they are written by every sync."""
    planner = Planner(CONFIG)
    synced(planner, WEB, found=set())
    again = planner.plan((WEB,), None)
    assert "KUBE-SEP" not in again.text
    assert "KUBE-SERVICES" in again.text
    assert (again.opened, again.updated, again.closed) == (0, 0, 0)


def test_chains_that_others_left_go_with_a_full_sync() -> None:
    """Whoever wrote them: no Service uses them now."""
    restore = Planner(CONFIG).plan((WEB,), {SVC, "KUBE-EXT-AAAAAAAAAAAAAAAA"})
    assert ":KUBE-EXT-AAAAAAAAAAAAAAAA - [0:0]\n" in restore.text
    assert restore.text.endswith("\n-X KUBE-EXT-AAAAAAAAAAAAAAAA\nCOMMIT\n")
    assert f"-X {SVC}" not in restore.text


def test_large_clusters_keep_stale_chains_until_a_full_sync_and_save_comments() -> None:
    """Both as upstream, from 1,000 endpoints on."""
    planner = Planner(CONFIG)
    many = tuple(Backend(f"127.128.{n >> 8}.{n & 255}", 80) for n in range(LARGE_CLUSTER_ENDPOINTS + 1))
    large = replace(WEB, name="ns1/large", anywhere=many)
    first = synced(planner, WEB, large, found=set())
    assert "svc1:p80 ->" not in first.text
    partial = synced(planner, large)
    assert "-X" not in partial.text
    assert f"-X {SVC}\n" in planner.plan((large,), planner.plan((large,), None).standing).text


def test_when_a_sync_is_full() -> None:
    """The first, the one after a failure, and one an hour."""
    planner = Planner(CONFIG)
    assert planner.needs_full(0.0)
    synced(planner, WEB, found=set(), now=0.0)
    assert not planner.needs_full(FULL_SYNC_SECONDS)
    assert planner.needs_full(FULL_SYNC_SECONDS + 1)
    assert planner.is_old(FULL_SYNC_SECONDS + 1)
    planner.distrust()
    assert planner.needs_full(1.0)
    assert not planner.is_old(FULL_SYNC_SECONDS + 1)


def test_removal_takes_ours_only() -> None:
    """Chains of others stay."""
    nat = "*nat\n" + "".join(f":{name} - [0:0]\n" for name in ("DOCKER", "KUBE-SERVICES", SVC, "KUBE-KUBELET-CANARY"))
    text = removal({"nat": nat, "filter": "*filter\n:INPUT ACCEPT [0:0]\n"})
    assert text == (f"*nat\n:KUBE-SERVICES - [0:0]\n:{SVC} - [0:0]\n-X KUBE-SERVICES\n-X {SVC}\nCOMMIT\n")
    assert removal({"nat": "*nat\n"}) == ""
    assert canaries("x").count(':KUBE-PROXY-CANARY - [0:0]\n-A KUBE-PROXY-CANARY -m comment --comment "x"\n') == 3
