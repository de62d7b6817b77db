"""kube-proxy: follows Services and EndpointSlices and keeps this node's forwarding in step. Wires; rules.py decides."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubeglass.components.api.kinds import ENDPOINT_SLICE, NODE, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Node, Service
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.process import ComponentSpec, ConfigError, Context
from kubeglass.components.proxy.health import ProxyHealth
from kubeglass.components.proxy.metrics import ChangeMetrics, HealthMetrics, SyncMetrics
from kubeglass.components.proxy.modes.userspace import Outcome, UserspaceProxier
from kubeglass.components.proxy.rules import Frontend, Here, rules
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.pages import Answer, Asked, Pages
from kubeglass.telemetry.tracing.causality import Trigger, merged, triggered_by
from kubeglass.telemetry.tracing.tracer import Span

MODES = ("userspace",)
_OURS = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
"""Services that somebody else serves are not looked at."""
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_FAMILY = "IPv4"
_ZONE = "topology.kubernetes.io/zone"
_RETRY_SECONDS = 5.0
_CAUSE_LIMIT = 31

Address = tuple[str, int]


class Proxy:
    """One node's proxy."""

    def __init__(
        self,
        client: Client,
        telemetry: Telemetry,
        node_name: str,
        node_ip: str,
        *,
        pages: Pages,
        metrics_address: Address,
        healthz_address: Address,
        min_sync_seconds: float = 0.05,
    ) -> None:
        self._telemetry = telemetry
        self._node_name, self._node_ip = node_name, node_ip
        self._pages = pages
        self._metrics_address, self._healthz_address = metrics_address, healthz_address
        self._min_sync_seconds = min_sync_seconds
        self._sync_metrics = SyncMetrics(telemetry.metrics)
        self._change_metrics = ChangeMetrics(telemetry.metrics)
        self._health_metrics = HealthMetrics(telemetry.metrics)
        self._health = ProxyHealth(clock.now)
        self._services = Informer(client, SERVICE, Service, telemetry, label_selector=_OURS)
        self._slices = Informer(client, ENDPOINT_SLICE, EndpointSlice, telemetry, label_selector=_OURS)
        self._nodes = Informer(client, NODE, Node, telemetry, field_selector=f"metadata.name={node_name}")
        self._dirty = asyncio.Event()
        self._pending_slices = 0
        self._pending_services: set[str] = set()
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
            asyncio.TaskGroup() as group,
        ):
            informers: tuple[Informer[Any], ...] = (self._services, self._slices, self._nodes)
            for informer in informers:
                group.create_task(informer.run(), name=f"informer-{informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            async with asyncio.TaskGroup() as connections:
                proxier = UserspaceProxier(connections, self._telemetry.log)
                try:
                    await self._sync_forever(proxier, started)
                finally:
                    proxier.close()

    # -- news -----------------------------------------------------------------------------------------------------

    def _service_changed(self, change: Change[Service]) -> None:
        self._change_metrics.service_changes_total.inc()
        self._pending_services.add(change.key)
        self._change_metrics.service_changes_pending.set(len(self._pending_services))
        self._want_sync()

    def _slice_changed(self, change: Change[EndpointSlice]) -> None:
        self._change_metrics.endpoint_changes_total.inc()
        self._pending_slices += 1
        self._change_metrics.endpoint_changes_pending.set(self._pending_slices)
        stamp = change.new.metadata.annotations.get(TRIGGER_TIME)
        if stamp and change.type != "DELETED" and self._slices.synced.is_set():
            try:
                self._triggers.append(clock.parse(stamp))
            except ValueError:
                self._telemetry.log.v(2).info("Error while parsing trigger time", slice=change.key, value=stamp)
        self._want_sync()

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

    async def _sync_forever(self, proxier: UserspaceProxier, started: Callable[[], None]) -> None:
        failed: Mapping[Frontend, str] = {}
        first = True
        while True:
            self._dirty.clear()
            outcome = await self._sync(proxier)
            self._tell_failures(failed, outcome)
            failed = outcome.failed
            if first:
                started()
                first = False
            await asyncio.sleep(self._min_sync_seconds)
            try:
                async with asyncio.timeout(_RETRY_SECONDS if failed else None):
                    await self._dirty.wait()
            except TimeoutError:
                pass

    async def _sync(self, proxier: UserspaceProxier) -> Outcome:
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
            outcome = await proxier.sync(ruleset.rules)
            if outcome.opened or outcome.updated or outcome.closed or outcome.failed:
                span.keep()
            span.update(
                {
                    "proxy.rules": len(ruleset.rules),
                    "proxy.opened": outcome.opened,
                    "proxy.updated": outcome.updated,
                    "proxy.closed": outcome.closed,
                    "proxy.failed": len(outcome.failed),
                }
            )
            self._synced(ruleset.no_local_internal, ruleset.no_local_external, triggers, time.perf_counter() - began)
        if outcome.opened or outcome.updated or outcome.closed:
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
                "proxy.mode": "userspace",
                "proxy.changes": sorted({cause.about for cause in causes}),
            },
            **(reaction.arguments if reaction else {"parent": None}),
        )

    def _synced(self, internal: int, external: int, triggers: list[float], seconds: float) -> None:
        metrics, now = self._sync_metrics, clock.now()
        metrics.duration_seconds.labels(_FAMILY).observe(seconds)
        metrics.last_timestamp_seconds.labels(_FAMILY).set(now)
        metrics.no_local_endpoints_total.labels("internal", _FAMILY).set(internal)
        metrics.no_local_endpoints_total.labels("external", _FAMILY).set(external)
        for trigger in triggers:
            metrics.network_programming_duration_seconds.labels(_FAMILY).observe(max(0.0, now - trigger))
        self._health.updated()

    def _tell_failures(self, before: Mapping[Frontend, str], outcome: Outcome) -> None:
        """Once per frontend and cause, although every sync tries again."""
        for frontend, why in outcome.failed.items():
            if before.get(frontend) != why:
                self._telemetry.log.error(OSError(why), "Failed to bind service address", address=str(frontend))

    # -- pages ----------------------------------------------------------------------------------------------------

    async def _mode_page(self, asked: Asked) -> Answer:
        return Answer(200, "text/plain; charset=utf-8", (b"userspace",))

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
    add("--hostname-override", required=True, metavar="NODE", help="the node this proxy serves")
    add("--node-ip", default="127.0.0.1", metavar="IP", help="address that NodePorts are opened on (%(default)s)")
    add("--proxy-mode", default="userspace", choices=MODES, help="how traffic is forwarded (%(default)s)")
    add("--metrics-bind-address", default="127.0.0.1:10249", metavar="IP:PORT", help="(%(default)s)")
    add("--healthz-bind-address", default="127.0.0.1:10256", metavar="IP:PORT", help="(%(default)s)")
    add("--cluster-cidr", default="", metavar="CIDR", help="range of the Pods; unused in userspace mode")


def address(text: str) -> Address:
    """`ip:port` as a pair. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"invalid address {text!r}: must be IP:PORT")
    return host.strip("[]"), int(port)


def _build(context: Context) -> Proxy:
    flags = context.flags
    return Proxy(
        context.client(),
        context.telemetry,
        flags.hostname_override,
        flags.node_ip,
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
