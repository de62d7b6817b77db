"""The rules of kube-proxy's iptables mode as text, in upstream's chains, order and words. Pure.

A ServicePort is entered by rules in the shared chains (KUBE-SERVICES, KUBE-NODEPORTS and the two of the filter table)
and has chains of its own, named by a hash: KUBE-SVC- balances over all endpoints, KUBE-SVL- over those of this node,
KUBE-EXT- is where traffic from outside arrives, KUBE-SEP- sends to one endpoint. Where the loopback network asks for
something else than upstream writes, decisions/0015 says why.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256

from kubeglass.components.proxy.rules import Backend, ServicePort

TABLES = ("mangle", "nat", "filter")
CANARY = "KUBE-PROXY-CANARY"
_SERVICES, _EXTERNAL, _NODE_PORTS = "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"
_POSTROUTING, _MARK = "KUBE-POSTROUTING", "KUBE-MARK-MASQ"
SHARED_CHAINS = {"nat": (_SERVICES, _NODE_PORTS, _POSTROUTING, _MARK), "filter": (_SERVICES, _EXTERNAL), "mangle": ()}
"""Chains that stand whether there are Services or not, by table."""
_OF_A_SERVICE = re.compile(r":(KUBE-(?:SVC|SVL|EXT|SEP)-[A-Z2-7]{16}) ")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")
_NAME = re.compile(r"[A-Za-z0-9._/:-]+")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_PORTS = range(1, 65536)
_AFFINITY_SECONDS = range(86401)
_NODE_PORTS_LAST = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
_REFUSE = {"tcp": "REJECT --reject-with tcp-reset"}


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule of a built-in chain that leads into one of ours."""

    table: str
    source: str
    target: str
    comment: str
    only: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The rule as `iptables -C CHAIN` and its like take it."""
        return (*self.only, "-m", "comment", "--comment", self.comment, "-j", self.target)


_NEW = ("-m", "conntrack", "--ctstate", "NEW")
JUMPS = (
    Jump("filter", "INPUT", _EXTERNAL, "kubernetes externally-visible service portals", _NEW),
    Jump("filter", "INPUT", _SERVICES, "kubernetes service portals", _NEW),
    Jump("nat", "OUTPUT", _SERVICES, "kubernetes service portals"),
    Jump("nat", "POSTROUTING", _POSTROUTING, "kubernetes postrouting rules"),
)


@dataclass(frozen=True, slots=True)
class Config:
    """What the rules depend on beside the Services."""

    node_ips: tuple[str, ...]
    cluster_cidr: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14

    @property
    def mark(self) -> str:
        """The packet mark that asks for the node's address as source."""
        return f"{1 << self.masquerade_bit:#x}"


@dataclass(frozen=True, slots=True)
class PortText:
    """The rules of one ServicePort. Entries stand in chains of all Services and are part of every sync."""

    filter_entries: tuple[str, ...]
    nat_entries: tuple[str, ...]
    chains: tuple[str, ...]  # its own
    rules: tuple[str, ...]  # in its own chains


def port_text(port: ServicePort, config: Config, *, brief: bool = False) -> PortText:
    """The rules of one ServicePort; `brief` leaves out the comments on endpoints, as upstream in large clusters.

    What cannot be carried has none.
    """
    if not can_be_carried(port):
        return PortText((), (), (), ())
    port = _with_ipv4_only(port)
    chains = _Chains(port)
    return PortText(
        tuple(_filter_entries(port, config)),
        tuple(_nat_entries(port, chains)),
        tuple(chains.in_use()),
        tuple(_own_rules(port, chains, config, brief=brief)),
    )


def can_be_carried(port: ServicePort) -> bool:
    """Whether it is what upstream's validation lets through: its words become lines that root feeds to iptables."""
    numbers = (port.port, *(backend.port for backend in (*port.anywhere, *port.here)))
    return (
        _NAME.fullmatch(port.name) is not None
        and port.protocol in _PROTOCOLS
        and all(number in _PORTS for number in numbers)
        and (port.node_port == 0 or port.node_port in _PORTS)
        and port.affinity_seconds in _AFFINITY_SECONDS
    )


def frame(config: Config) -> tuple[str, ...]:
    """Rules of the nat table that stand without any Service. The last ones must come last."""
    mark = config.mark
    snat = f"-A {_POSTROUTING} {_comment('kubernetes service traffic requiring SNAT')}"
    own = tuple(f"{snat} -o lo -j SNAT --to-source {ip} --random-fully" for ip in config.node_ips[:1])
    return (
        f"-A {_POSTROUTING} -m mark ! --mark {mark}/{mark} -j RETURN",
        f"-A {_POSTROUTING} -j MARK --xor-mark {mark}",
        *own,
        f"{snat} -j MASQUERADE --random-fully",
        f"-A {_MARK} -j MARK --or-mark {mark}",
    )


def last_entries(config: Config) -> tuple[str, ...]:
    """What is no Service address may be a node port."""
    return tuple(f"-A {_SERVICES} {_comment(_NODE_PORTS_LAST)} -d {ip} -j {_NODE_PORTS}" for ip in config.node_ips)


def chain_line(chain: str) -> str:
    """Creates a chain, or empties it."""
    return f":{chain} - [0:0]"


def restore(tables: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Input for `iptables-restore --noflush`: per table its chain lines and rules."""
    return "".join("\n".join((f"*{table}", *lines, "COMMIT\n")) for table, lines in tables)


def service_chains(saved: str) -> set[str]:
    """Chains of Services in what `iptables-save` tells."""
    return set(_OF_A_SERVICE.findall(saved))


def canaries(mark: str) -> str:
    """A chain per table with one rule: it is gone when somebody flushes the table. `mark` says whose it is."""
    lines = (chain_line(CANARY), f"-A {CANARY} {_comment(mark)}")
    return restore((table, lines) for table in TABLES)


def removal(saved: dict[str, str]) -> str:
    """What takes away all our chains that `iptables-save` told of, by table."""
    return restore((table, lines) for table, text in saved.items() if (lines := list(_removal(table, text))))


def _removal(table: str, saved: str) -> Iterator[str]:
    ours = [chain for chain in (*SHARED_CHAINS[table], CANARY) if f"\n:{chain} " in saved]
    ours += sorted(service_chains(saved))
    yield from map(chain_line, ours)
    yield from (f"-X {chain}" for chain in ours)


# -- names ------------------------------------------------------------------------------------------------------------


def chain_name(prefix: str, *words: str) -> str:
    """`KUBE-SVC-` and the beginning of the base32 of a SHA-256, so that names fit into 28 characters."""
    return prefix + b32encode(sha256("".join(words).encode()).digest()[:10]).decode()


class _Chains:
    """The names of a ServicePort's chains, and which of them it uses."""

    def __init__(self, port: ServicePort) -> None:
        words = (port.name, port.protocol.lower())
        self.everywhere = chain_name("KUBE-SVC-", *words)
        self.here = chain_name("KUBE-SVL-", *words)
        self.outside = chain_name("KUBE-EXT-", *words)
        self.internal = self.here if port.internal_local else self.everywhere
        self.external = self.here if port.external_local else self.everywhere
        self.uses_everywhere = bool(port.anywhere) and (not port.internal_local or port.is_external)
        self.uses_here = bool(port.here) and (port.internal_local or (port.external_local and port.is_external))
        self.uses_outside = port.has_endpoints and port.is_external
        anywhere = port.anywhere if self.uses_everywhere else ()
        backends = (*anywhere, *(port.here if self.uses_here else ()))
        self.of = {b: chain_name("KUBE-SEP-", *words, f"{b.ip}:{b.port}") for b in backends}

    def in_use(self) -> Iterator[str]:
        if self.uses_outside:
            yield self.outside
        if self.uses_everywhere:
            yield self.everywhere
        if self.uses_here:
            yield self.here
        yield from self.of.values()


# -- entries ----------------------------------------------------------------------------------------------------------


def _nat_entries(port: ServicePort, chains: _Chains) -> Iterator[str]:
    for ip in port.cluster_ips if port.internal else ():
        yield _services_entry(port, "cluster IP", ip, chains.internal)
    if not chains.uses_outside:
        return
    for ip in port.external_ips:
        yield _services_entry(port, "external IP", ip, chains.outside)
    for ip in port.load_balancer_ips:
        yield _services_entry(port, "loadbalancer IP", ip, chains.outside)
    if port.node_port:
        protocol = _protocol(port)
        match = f"{_comment(port.name)} -m {protocol} -p {protocol} --dport {port.node_port}"
        yield f"-A {_NODE_PORTS} {match} -j {chains.outside}"


def _services_entry(port: ServicePort, what: str, ip: str, target: str) -> str:
    return f"-A {_SERVICES} {_comment(f'{port.name} {what}')} {_to(port, ip, port.port)} -j {target}"


def _filter_entries(port: ServicePort, config: Config) -> Iterator[str]:
    """Refuse what has no endpoint anywhere; drop what has none here, so that it looks like a lost packet."""
    if port.has_endpoints:
        comment, target = _comment(f"{port.name} has no local endpoints"), "DROP"
    else:
        comment, target = _comment(f"{port.name} has no endpoints"), _REFUSE.get(_protocol(port), "REJECT")
    for ip in () if port.internal else port.cluster_ips:
        yield f"-A {_SERVICES} {comment} {_to(port, ip, port.port)} -j {target}"
    if port.external:
        return
    for ip in (*port.external_ips, *port.load_balancer_ips):
        yield f"-A {_EXTERNAL} {comment} {_to(port, ip, port.port)} -j {target}"
    for ip in config.node_ips if port.node_port else ():
        yield f"-A {_EXTERNAL} {comment} {_to(port, ip, port.node_port)} -j {target}"


# -- chains of a ServicePort ------------------------------------------------------------------------------------------


def _own_rules(port: ServicePort, chains: _Chains, config: Config, *, brief: bool) -> Iterator[str]:
    yield from _masquerading(port, chains, config)
    if chains.uses_outside:
        yield from _from_outside(port, chains, config)
    if chains.uses_everywhere:
        yield from _balancing(port, chains.everywhere, port.anywhere, chains, brief=brief)
    if chains.uses_here:
        yield from _balancing(port, chains.here, port.here, chains, brief=brief)
    for backend, chain in chains.of.items():
        yield from _to_endpoint(port, backend, chain, brief=brief)


def _masquerading(port: ServicePort, chains: _Chains, config: Config) -> Iterator[str]:
    """Whoever is no Pod asks a cluster IP in the node's name, so that answers come back through the node."""
    if not port.internal or not (config.masquerade_all or config.cluster_cidr):
        return
    sources = "" if config.masquerade_all else f" ! -s {config.cluster_cidr}"
    for ip in port.cluster_ips:
        match = f"{_comment(f'{port.name} cluster IP')} {_to(port, ip, port.port)}{sources}"
        yield f"-A {chains.internal} {match} -j {_MARK}"


def _from_outside(port: ServicePort, chains: _Chains, config: Config) -> Iterator[str]:
    append = f"-A {chains.outside}"
    if not port.external_local:
        yield f"{append} {_comment(f'masquerade traffic for {port.name} external destinations')} -j {_MARK}"
    elif config.cluster_cidr and chains.uses_everywhere:
        comment = _comment(f"pod traffic for {port.name} external destinations")
        yield f"{append} {comment} -s {config.cluster_cidr} -j {chains.everywhere}"
    if port.external:
        yield f"{append} -j {chains.external}"


def _balancing(
    port: ServicePort, chain: str, backends: Sequence[Backend], chains: _Chains, *, brief: bool
) -> Iterator[str]:
    """Clients that are known go where they were; others to each endpoint with the same probability."""
    heads = [f"-A {chain}{_endpoint_comment(port, backend, brief=brief)}" for backend in backends]
    targets = [chains.of[backend] for backend in backends]
    if port.affinity_seconds:
        for head, target in zip(heads, targets, strict=True):
            yield f"{head} -m recent --name {target} --rcheck --seconds {port.affinity_seconds} --reap -j {target}"
    for left, head, target in zip(range(len(heads), 0, -1), heads, targets, strict=True):
        chance = f" -m statistic --mode random --probability {_probability(left)}" if left > 1 else ""
        yield f"{head}{chance} -j {target}"


def _to_endpoint(port: ServicePort, backend: Backend, chain: str, *, brief: bool) -> Iterator[str]:
    head = f"-A {chain}" + ("" if brief else f" {_comment(port.name)}")
    protocol = _protocol(port)
    yield f"{head} -s {backend.ip} -j {_MARK}"
    recent = f" -m recent --name {chain} --set" if port.affinity_seconds else ""
    yield f"{head}{recent} -m {protocol} -p {protocol} -j DNAT --to-destination {backend.ip}:{backend.port}"


# -- words ------------------------------------------------------------------------------------------------------------


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _endpoint_comment(port: ServicePort, backend: Backend, *, brief: bool) -> str:
    return "" if brief else f" {_comment(f'{port.name} -> {backend.ip}:{backend.port}')}"


def _protocol(port: ServicePort) -> str:
    return port.protocol.lower()


def _to(port: ServicePort, ip: str, number: int) -> str:
    protocol = _protocol(port)
    return f"-m {protocol} -p {protocol} -d {ip} --dport {number}"


@cache
def _probability(of: int) -> str:
    return f"{1 / of:.10f}"


def _with_ipv4_only(port: ServicePort) -> ServicePort:
    """Without addresses that iptables would refuse: one of them would keep all Services from being carried."""
    return replace(
        port,
        cluster_ips=tuple(filter(_IPV4.fullmatch, port.cluster_ips)),
        external_ips=tuple(filter(_IPV4.fullmatch, port.external_ips)),
        load_balancer_ips=tuple(filter(_IPV4.fullmatch, port.load_balancer_ips)),
        anywhere=tuple(backend for backend in port.anywhere if _IPV4.fullmatch(backend.ip)),
        here=tuple(backend for backend in port.here if _IPV4.fullmatch(backend.ip)),
    )
