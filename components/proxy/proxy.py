"""kube-proxy: follows Services and EndpointSlices and keeps this node's forwarding in step. Wires; rules.py decides."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Any

from kubeglass.components.api.kinds import ENDPOINT_SLICE, NODE, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Node, Service
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.process import Component, ComponentSpec, ConfigError, Context, seconds
from kubeglass.components.proxy.health import ProxyHealth
from kubeglass.components.proxy.metrics import ChangeMetrics, HealthMetrics, IptablesMetrics, SyncMetrics
from kubeglass.components.proxy.modes.mode import Mode, Outcome, Proxier
from kubeglass.components.proxy.modes.userspace import userspace_mode
from kubeglass.components.proxy.rules import Here, Ruleset, routes_alike, rules
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.pages import Answer, Asked, Pages
from kubeglass.telemetry.tracing.causality import Trigger, merged, triggered_by
from kubeglass.telemetry.tracing.tracer import Span

MODES = ("userspace", "iptables")
_OURS = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
"""Services that somebody else serves are not looked at."""
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_FAMILY = "IPv4"
_ZONE = "topology.kubernetes.io/zone"
_CAUSE_LIMIT = 31
_TRIGGER_LIMIT = 10_000

Address = tuple[str, int]


class Proxy:
    """One node's proxy."""

    def __init__(
        self,
        client: Client,
        telemetry: Telemetry,
        node_name: str,
        node_ip: str,
        mode: Mode,
        *,
        pages: Pages,
        metrics_address: Address,
        healthz_address: Address,
    ) -> None:
        self._telemetry = telemetry
        self._node_name, self._node_ip = node_name, node_ip
        self._mode = mode
        self._pages = pages
        self._metrics_address, self._healthz_address = metrics_address, healthz_address
        self._sync_metrics = SyncMetrics(telemetry.metrics)
        self._change_metrics = ChangeMetrics(telemetry.metrics)
        self._health_metrics = HealthMetrics(telemetry.metrics)
        self._health = ProxyHealth(clock.now, mode.overdue_seconds)
        self._services = Informer(client, SERVICE, Service, telemetry, label_selector=_OURS)
        self._slices = Informer(client, ENDPOINT_SLICE, EndpointSlice, telemetry, label_selector=_OURS)
        self._nodes = Informer(client, NODE, Node, telemetry, field_selector=f"metadata.name={node_name}")
        self._dirty = asyncio.Event()
        self._pending_slices = 0
        self._pending_services: set[str] = set()
        self._began = clock.now()
        self._triggers: list[float] = []
        self._causes: list[Trigger] = []
        self._services.subscribe(self._service_changed)
        self._slices.subscribe(self._slice_changed)
        self._nodes.subscribe(self._node_changed)

    async def run(self, started: Callable[[], None]) -> None:
        """Forward until cancelled."""
        extra = {"/proxyMode": self._mode_page}
        health = {"/healthz": self._healthz, "/livez": self._livez}
        async with (
            serve(self._pages, *self._metrics_address, extra_routes=extra),
            serve(self._pages, *self._healthz_address, extra_routes=health),
            self._mode.open(self._want_sync) as proxier,
            asyncio.TaskGroup() as group,
        ):
            informers: tuple[Informer[Any], ...] = (self._services, self._slices, self._nodes)
            for informer in informers:
                group.create_task(informer.run(), name=f"informer-{informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            await self._sync_forever(proxier, started)

    # -- news -----------------------------------------------------------------------------------------------------

    def _service_changed(self, change: Change[Service]) -> None:
        self._change_metrics.service_changes_total.inc()
        self._pending_services.add(change.key)
        self._change_metrics.service_changes_pending.set(len(self._pending_services))
        self._want_sync()

    def _slice_changed(self, change: Change[EndpointSlice]) -> None:
        self._change_metrics.endpoint_changes_total.inc()
        if change.type == "MODIFIED" and change.old is not None and routes_alike(change.old, change.new):
            return
        self._pending_slices += 1
        self._change_metrics.endpoint_changes_pending.set(self._pending_slices)
        stamp = change.new.metadata.annotations.get(TRIGGER_TIME)
        if stamp and change.type != "DELETED":
            self._note_trigger(change.key, stamp)
        self._want_sync()

    def _note_trigger(self, key: str, stamp: str) -> None:
        """When the change happened that the slice tells of. What happened before this proxy ran was not its to do."""
        try:
            when = clock.parse(stamp)
        except ValueError:
            self._telemetry.log.v(2).info("Error while parsing trigger time", slice=key, value=stamp)
            return
        if when > self._began:
            self._triggers.append(when)

    def _node_changed(self, change: Change[Node]) -> None:
        self._health.node_is(None if change.type == "DELETED" else change.new)
        if change.old is None or change.old.metadata.labels.get(_ZONE) != change.new.metadata.labels.get(_ZONE):
            self._want_sync()

    def _want_sync(self) -> None:
        trigger = triggered_by.get()
        if trigger is not None:
            self._causes = [*self._causes[-_CAUSE_LIMIT:], trigger]
        self._health.asked()
        self._sync_metrics.last_queued_timestamp_seconds.labels(_FAMILY).set(clock.now())
        self._dirty.set()

    # -- syncing --------------------------------------------------------------------------------------------------

    async def _sync_forever(self, proxier: Proxier, started: Callable[[], None]) -> None:
        """The component has started once the rules stand for the first time."""
        waiting = True
        while True:
            self._dirty.clear()
            outcome = await self._sync(proxier)
            if waiting and outcome.success:
                started()
                waiting = False
            again = bool(outcome.failed) or not outcome.success
            await asyncio.sleep(self._mode.min_sync_seconds)
            try:
                async with asyncio.timeout(self._mode.retry_seconds if again else None):
                    await self._dirty.wait()
            except TimeoutError:
                pass

    async def _sync(self, proxier: Proxier) -> Outcome:
        began = time.perf_counter()
        triggers, self._triggers = self._triggers, []
        self._pending_slices = 0
        self._pending_services.clear()
        self._change_metrics.endpoint_changes_pending.set(0)
        self._change_metrics.service_changes_pending.set(0)
        with self._span() as span:
            node = self._nodes.get(self._node_name)
            zone = node.metadata.labels.get(_ZONE, "") if node else ""
            ruleset = rules(self._services.list(), self._slices.list(), Here(self._node_name, (self._node_ip,), zone))
            outcome = await proxier.sync(ruleset)
            changed = bool(outcome.opened or outcome.updated or outcome.closed)
            if changed or outcome.failed or not outcome.success:
                span.keep()
            span.update(
                {
                    "proxy.rules": len(ruleset),
                    "proxy.opened": outcome.opened,
                    "proxy.updated": outcome.updated,
                    "proxy.closed": outcome.closed,
                    "proxy.failed": len(outcome.failed),
                }
            )
            self._sync_metrics.duration_seconds.labels(_FAMILY).observe(time.perf_counter() - began)
            if outcome.success:
                self._synced(ruleset, triggers)
            else:
                self._triggers = [*triggers, *self._triggers][-_TRIGGER_LIMIT:]
                span.error("the rules could not be written")
        if changed:
            self._telemetry.log.v(2).info(
                "SyncProxyRules complete", opened=outcome.opened, updated=outcome.updated, closed=outcome.closed
            )
        return outcome

    def _span(self) -> Span:
        """One sync: part of the change that asked for it, linked to others it served, nothing if it changes nothing."""
        causes, self._causes = self._causes, []
        reaction = merged(causes, "", asyncio.get_running_loop().time())
        return self._telemetry.tracer.span(
            "sync proxy rules",
            tentative=True,
            attributes={
                "k8s.node.name": self._node_name,
                "proxy.mode": self._mode.name,
                "proxy.changes": sorted({cause.about for cause in causes}),
            },
            **(reaction.arguments if reaction else {"parent": None}),
        )

    def _synced(self, ruleset: Ruleset, triggers: list[float]) -> None:
        metrics, now = self._sync_metrics, clock.now()
        metrics.last_timestamp_seconds.labels(_FAMILY).set(now)
        metrics.no_local_endpoints_total.labels("internal", _FAMILY).set(ruleset.no_local_internal)
        metrics.no_local_endpoints_total.labels("external", _FAMILY).set(ruleset.no_local_external)
        for trigger in triggers:
            metrics.network_programming_duration_seconds.labels(_FAMILY).observe(max(0.0, now - trigger))
        self._health.updated()

    # -- pages ----------------------------------------------------------------------------------------------------

    async def _mode_page(self, asked: Asked) -> Answer:
        return Answer(200, "text/plain; charset=utf-8", (self._mode.name.encode(),))

    async def _healthz(self, asked: Asked) -> Answer:
        status = 200 if self._health.alive and self._health.eligible else 503
        self._health_metrics.proxy_healthz_total.labels(str(status)).inc()
        return self._health_answer(status)

    async def _livez(self, asked: Asked) -> Answer:
        status = 200 if self._health.alive else 503
        self._health_metrics.proxy_livez_total.labels(str(status)).inc()
        return self._health_answer(status)

    def _health_answer(self, status: int) -> Answer:
        headers = {"X-Content-Type-Options": "nosniff"}
        return Answer(status, "application/json", (self._health.body(),), headers)


# -- flags ------------------------------------------------------------------------------------------------------------


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--hostname-override", default="", metavar="NODE", help="the node this proxy serves (required)")
    add("--node-ip", default="127.0.0.1", metavar="IP", help="address that NodePorts are opened on (%(default)s)")
    add("--proxy-mode", default="userspace", choices=MODES, help="how traffic is forwarded (%(default)s)")
    add("--metrics-bind-address", default="127.0.0.1:10249", metavar="IP:PORT", help="(%(default)s)")
    add("--healthz-bind-address", default="127.0.0.1:10256", metavar="IP:PORT", help="(%(default)s)")
    add("--cluster-cidr", default="", metavar="CIDR", help="range of the Pods; unused in userspace mode")
    add("--cleanup", type=_bool, nargs="?", const=True, default=False, help="remove rules of iptables and exit")
    iptables = "in iptables mode"
    add(
        "--iptables-sync-period",
        type=seconds,
        default=30.0,
        metavar="DURATION",
        help=f"how often rules are looked after {iptables}, and how soon a failed sync is repeated (30s)",
    )
    add(
        "--iptables-min-sync-period",
        type=seconds,
        default=1.0,
        metavar="DURATION",
        help=f"time between two syncs {iptables}; 0: sync on every change (1s)",
    )
    add(
        "--iptables-masquerade-bit",
        type=int,
        choices=range(32),
        default=14,
        metavar="BIT",
        help=f"the bit of a packet's mark that asks for the node's address {iptables} (%(default)s)",
    )
    add(
        "--masquerade-all",
        type=_bool,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOL",
        help=f"give all traffic to cluster IPs the node's address {iptables} (%(default)s)",
    )


def _bool(text: str) -> bool:
    """A flag's value as Go reads it."""
    known = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}")
    return known[text.lower()]


def address(text: str) -> Address:
    """`ip:port` as a pair. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"invalid address {text!r}: must be IP:PORT")
    return host.strip("[]"), int(port)


def _mode(context: Context) -> Mode:
    """The chosen mode. Its metrics, and the memory its code takes, are there only if it is."""
    flags, telemetry = context.flags, context.telemetry
    if flags.proxy_mode == "userspace":
        return userspace_mode(telemetry.log)
    from kubeglass.components.proxy.modes.iptables import iptables_mode
    from kubeglass.components.proxy.modes.iptables_text import Config

    if flags.iptables_sync_period < max(flags.iptables_min_sync_period, 1e-9):
        raise ConfigError("--iptables-sync-period must be greater than 0 and not less than --iptables-min-sync-period")
    _check(ipaddress.IPv4Address, "--node-ip", flags.node_ip)
    if flags.cluster_cidr:
        _check(ipaddress.IPv4Interface, "--cluster-cidr", flags.cluster_cidr)
    config = Config(
        node_ips=(flags.node_ip,),
        cluster_cidr=flags.cluster_cidr,
        masquerade_all=flags.masquerade_all,
        masquerade_bit=flags.iptables_masquerade_bit,
    )
    return iptables_mode(
        config,
        telemetry.log,
        IptablesMetrics(telemetry.metrics),
        sync_seconds=flags.iptables_sync_period,
        min_sync_seconds=flags.iptables_min_sync_period,
    )


def _check(kind: Callable[[str], object], flag: str, text: str) -> None:
    try:
        kind(text)
    except ValueError as error:
        raise ConfigError(f"invalid {flag}: {error}") from error


class _Cleanup:
    """`--cleanup`: a component that is done at once."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def run(self, started: Callable[[], None]) -> None:
        """Remove what a proxy in iptables mode left behind."""
        from kubeglass.components.proxy.modes.iptables import clean_up

        await clean_up(self._telemetry.log)
        started()


def _build(context: Context) -> Component:
    flags = context.flags
    if flags.cleanup:
        return _Cleanup(context.telemetry)
    if not flags.hostname_override:
        raise ConfigError("--hostname-override is required: the name of the node whose Services it carries")
    mode = _mode(context)
    return Proxy(
        context.client(),
        context.telemetry,
        flags.hostname_override,
        flags.node_ip,
        mode,
        pages=context.pages(extra_paths=("/proxyMode",)),
        metrics_address=address(flags.metrics_bind_address),
        healthz_address=address(flags.healthz_bind_address),
    )


COMPONENT = ComponentSpec(
    name="proxy",
    binary="kube-proxy",
    summary="Makes Services reachable on one node.",
    add_flags=_add_flags,
    build=_build,
)
