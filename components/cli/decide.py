"""What `up` decides before anything is touched: the plan, free ports and addresses, and whether the rest is taken."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from typing import Protocol

import msgspec

from kubeglass.components.cli import processes
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.plan import HOST, Plan, Ports
from kubeglass.components.machinery.loopback import SLOTS, AddressPlan, host_port


def decide(flags: argparse.Namespace, existing: Plan | None) -> Plan:
    """The plan: what there was, changed by the flags given now."""
    plan = existing or _new_plan(flags.ports or "default")
    changes: dict[str, object] = {
        "simulated_nodes": flags.simulated_nodes,
        "network": flags.network,
        "runtime": flags.runtime,
        "etcd_servers": flags.etcd_servers,
        "verbosity": flags.verbosity,
        "logging_format": flags.logging_format,
        "log_otlp": flags.log_otlp,
        "sampling_rate_per_million": flags.tracing_sampling_rate_per_million,
        "nodes": tuple(f"node-{index}" for index in range(1, flags.nodes + 1)) if flags.nodes else None,
        "extra_flags": _extra_flags(flags.component_flag) if flags.component_flag else None,
        "prometheus": flags.prometheus,
    }
    return msgspec.structs.replace(plan, **{key: value for key, value in changes.items() if value is not None})


def _new_plan(ports: str) -> Plan:
    if ports == "default":
        return Plan()
    return Plan(slot=_free_slot(), ports=_free_ports())


def with_free_ports(plan: Plan, wanted: Sequence[Listener]) -> Plan:
    """The plan, with other ports when one of them was taken while the cluster was stopped.

    Certificates name no port, and kubeconfigs are written at each start. Its addresses stay: Services and Pods in its
    store have them.
    """
    ports = set(msgspec.structs.asdict(plan.ports).values())
    own = [(address, port) for process in wanted for address, port in process.listens if port in ports]
    if all(_bindable(address, port) for address, port in own):
        return plan
    return msgspec.structs.replace(plan, ports=_free_ports())


def _extra_flags(assignments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    flags: dict[str, tuple[str, ...]] = {}
    for assignment in assignments:
        component, found, flag = assignment.partition("=")
        if not found or not flag.startswith("-"):
            raise CommandError(f"--component-flag wants NAME=--flag=value, got {assignment!r}")
        flags[component] = (*flags.get(component, ()), flag)
    return flags


def _free_slot() -> int:
    """A loopback slot nobody serves from: each cluster's proxies hold the kubernetes Service's address."""
    for slot in range(1, SLOTS):
        addresses = AddressPlan(slot)
        dns = (addresses.dns_service_ip, host_port(53))
        free = (
            _bindable(addresses.kubernetes_service_ip, host_port(443))
            and _bindable(*dns)
            and _bindable(*dns, socket.SOCK_DGRAM)
            and _bindable(addresses.node_ip(1), 10250)
        )
        if free and _reserve(f"kubeglass-slot-{slot}"):
            return slot
    raise CommandError(f"all {SLOTS} loopback address slots are in use; stop a cluster with `kubeglass down`")


def _reserve(name: str) -> bool:
    """Keep a slot from other commands for as long as this one lives: its cluster listens there only in a while.

    The name belongs to the kernel, which forgets it with the process; components close what they inherit.
    """
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0{name}")
    except OSError:
        holder.close()
        return False
    holder.detach()
    return True


def _free_ports() -> Ports:
    """One free port per field, all different: they are held open together while they are chosen."""
    sockets = {}
    try:
        for name in Ports.__struct_fields__:
            sockets[name] = listener = socket.socket()
            listener.bind((HOST, 0))
        return Ports(**{name: listener.getsockname()[1] for name, listener in sockets.items()})
    finally:
        for listener in sockets.values():
            listener.close()


def _bindable(address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    with socket.socket(type=kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class Listener(Protocol):
    """Something that is going to listen."""

    @property
    def name(self) -> str: ...
    @property
    def listens(self) -> tuple[tuple[str, int], ...]: ...


def refuse_taken_ports(wanted: Sequence[Listener]) -> None:
    """Raise CommandError naming the first address in use and, where the system tells, who holds it."""
    for process in wanted:
        for address, port in process.listens:
            if not _bindable(address, port):
                holder = processes.holder_of(address, port)
                by = f" by {holder}" if holder else ""
                raise CommandError(
                    f"{process.name} cannot listen on {address}:{port}: the port is in use{by}; "
                    "end that process, or give --ports auto (with another data dir if part of this cluster runs)"
                )
