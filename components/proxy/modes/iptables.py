"""Forwarding by the kernel: rules of iptables, written by iptables-restore. Needs root.

The text is made elsewhere (iptables_text, iptables_plan); here it is carried out, watched over and taken away again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kubeglass.components.machinery.process import ConfigError
from kubeglass.components.proxy.metrics import IptablesMetrics
from kubeglass.components.proxy.modes.conntrack import Address, Targets, delete_stale, targets
from kubeglass.components.proxy.modes.iptables_command import Iptables, IptablesError, claim, must_work_here
from kubeglass.components.proxy.modes.iptables_plan import Planner, Restore
from kubeglass.components.proxy.modes.iptables_text import (
    CANARY,
    JUMPS,
    TABLES,
    Config,
    canaries,
    removal,
    service_chains,
)
from kubeglass.components.proxy.modes.mode import Mode, Outcome
from kubeglass.components.proxy.rules import Ruleset
from kubeglass.logging.klog import Logger
from kubeglass.logging.values import Duration

_FAMILY = "IPv4"
_OURS = "kubeglass"  # the canary's rule says so; a kube-proxy's canary has no rule


def iptables_mode(
    config: Config, log: Logger, metrics: IptablesMetrics, *, sync_seconds: float, min_sync_seconds: float
) -> Mode:
    """The mode. `sync_seconds` is how often the rules are looked after, and how soon a failed sync is repeated."""

    @asynccontextmanager
    async def opened(want_sync: Callable[[], None]) -> AsyncIterator[IptablesProxier]:
        must_work_here()
        iptables = Iptables()
        with claim():
            await _refuse_beside_a_kube_proxy(iptables)
            family_log = log.with_values(ipFamily=_FAMILY)
            family_log.v(2).info("Using iptables mark for masquerade", mark=config.mark)
            family_log.v(2).info(
                "Iptables sync params",
                minSyncPeriod=Duration.of_seconds(min_sync_seconds),
                syncPeriod=Duration.of_seconds(sync_seconds),
            )
            proxier = IptablesProxier(config, iptables, family_log, metrics, sync_seconds)
            try:
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(proxier.watch(want_sync), name="iptables monitor")
                    yield proxier
                    watch.cancel()
            finally:
                await remove(iptables, log)

    return Mode("iptables", min_sync_seconds, sync_seconds, 2 * sync_seconds, opened)


class IptablesProxier:
    """The rules of one network namespace."""

    def __init__(
        self, config: Config, iptables: Iptables, log: Logger, metrics: IptablesMetrics, sync_seconds: float
    ) -> None:
        self._iptables = iptables
        self._log = log
        self._metrics = metrics
        self._sync_seconds = sync_seconds
        self._planner = Planner(config)
        self._udp: Targets = {}

    async def sync(self, ruleset: Ruleset) -> Outcome:
        """Write what changed, or everything. After a failure the next sync writes everything."""
        began = time.perf_counter()
        full = self._planner.needs_full(time.monotonic())
        self._log.v(2).info("Syncing iptables rules", fullSync=full)
        try:
            outcome = await self._carry_out(ruleset, full=full)
        except IptablesError:
            self._planner.distrust()
            if not full:
                self._metrics.partial_restore_failures_total.labels(_FAMILY).inc()
            outcome = Outcome(success=False)
            self._log.info("Sync failed", retryingTime=Duration.of_seconds(self._sync_seconds))
        durations = self._metrics.full_duration_seconds if full else self._metrics.partial_duration_seconds
        durations.labels(_FAMILY).observe(time.perf_counter() - began)
        return outcome

    async def _carry_out(self, ruleset: Ruleset, *, full: bool) -> Outcome:
        if full:
            await self._restore(canaries(_OURS))
        restore = self._planner.plan(ruleset.ports, await self._found() if full else None)
        self._tell(restore, len(ruleset.ports))
        await self._restore(restore.text)
        if full:
            await self._jump()
        self._planner.done(restore, time.monotonic())
        await self._end_stale_flows(ruleset, anyway=full)
        return Outcome(restore.opened, restore.closed, restore.updated)

    async def _end_stale_flows(self, ruleset: Ruleset, *, anyway: bool) -> None:
        """After a change of UDP Services: their clients are to meet the endpoints there are now."""
        wanted = targets(ruleset)
        gone = {address: frozenset[Address]() for address in self._udp.keys() - wanted.keys()}
        if not (wanted or gone) or (wanted == self._udp and not anyway):
            return
        began = time.perf_counter()
        try:
            deleted = await asyncio.to_thread(delete_stale, {**wanted, **gone})
        except OSError as error:
            self._log.error(error, "Failed to clean up stale conntrack entries")
            return
        self._udp = wanted
        self._metrics.conntrack_duration_seconds.labels(_FAMILY).observe(time.perf_counter() - began)
        self._metrics.conntrack_deleted_entries_total.labels(_FAMILY).inc(deleted)
        if deleted:
            self._log.v(4).info("Finished reconciling conntrack entries", entriesDeleted=deleted)

    async def _found(self) -> set[str]:
        """Chains of Services that stand, whoever left them."""
        try:
            return service_chains(await self._iptables.save("nat"))
        except IptablesError as error:
            self._log.error(error, "Failed to execute iptables-save: stale chains will not be deleted")
            return set()

    async def _restore(self, text: str) -> None:
        try:
            await self._iptables.restore(text)
        except IptablesError as error:
            self._metrics.restore_failures_total.labels(_FAMILY).inc()
            rules = error.excerpt(text)
            values = {"rules": rules} if rules else {}
            self._log.error(error, "Failed to execute iptables-restore", **values)
            raise

    async def _jump(self) -> None:
        """Lead the kernel's own chains into ours, once the latter are there."""
        for jump in JUMPS:
            if await self._iptables.has_rule(jump.table, jump.source, *jump.arguments):
                continue
            try:
                await self._iptables.insert_rule(jump.table, jump.source, *jump.arguments)
            except IptablesError as error:
                where = {"table": jump.table, "srcChain": jump.source, "dstChain": jump.target}
                self._log.error(error, "Failed to ensure chain jumps", **where)
                raise

    def _tell(self, restore: Restore, services: int) -> None:
        for name in restore.refused:
            self._log.error(None, "Skipping service port: no valid name, protocol, port or timeout", servicePort=name)
        for table, total in restore.rules_total.items():
            self._metrics.iptables_total.labels(table, _FAMILY).set(total)
            self._metrics.iptables_last.labels(table, _FAMILY).set(restore.rules_last[table])
        self._log.v(2).info(
            "Reloading service iptables data",
            numServices=services,
            numEndpoints=restore.endpoints,
            numFilterChains=restore.chains_last["filter"],
            numFilterRules=restore.rules_last["filter"],
            numNATChains=restore.chains_last["nat"],
            numNATRules=restore.rules_last["nat"],
        )
        self._log.v(9).info("Restoring iptables", rules=restore.text)

    async def watch(self, want_sync: Callable[[], None]) -> None:
        """Ask for a full sync when one is due, or when somebody flushed a table: the canary in it is gone then."""
        while True:
            await asyncio.sleep(self._sync_seconds)
            if self._planner.is_old(time.monotonic()):
                want_sync()
            elif not self._planner.needs_full(time.monotonic()) and await self._flushed():
                self._log.v(2).info("Reloading after iptables flush", canary=CANARY)
                self._planner.distrust()
                want_sync()

    async def _flushed(self) -> bool:
        try:
            lives = [_OURS in await self._iptables.list_chain(table, CANARY) for table in TABLES]
        except IptablesError as error:
            self._log.error(error, "Could not check for iptables canary", canary=CANARY)
            return False
        return not all(lives)


async def _refuse_beside_a_kube_proxy(iptables: Iptables) -> None:
    """Raises ConfigError when the chains are somebody else's, or iptables does not work at all."""
    try:
        foreign = await iptables.list_chain("nat", "KUBE-SERVICES")
        ours = _OURS in await iptables.list_chain("nat", CANARY)
    except IptablesError as error:
        raise ConfigError(f"--proxy-mode=iptables cannot use iptables: {error}") from error
    if foreign and not ours:
        raise ConfigError(
            "chain KUBE-SERVICES is there and not of kubeglass, so a kube-proxy seems to serve this network namespace: "
            "use --proxy-mode=userspace, or a namespace of its own (unshare -n); if the chain is a leftover, "
            "`kubeglass proxy --cleanup` removes it"
        )


async def remove(iptables: Iptables, log: Logger) -> bool:
    """Take away all our rules and chains. False when something could not be removed, which is logged."""
    doing = "Error removing pure-iptables proxy rule"
    try:
        for jump in JUMPS:
            while await iptables.has_rule(jump.table, jump.source, *jump.arguments):
                await iptables.delete_rule(jump.table, jump.source, *jump.arguments)
        doing = "Failed to execute iptables-save"
        text = removal({table: await iptables.save(table) for table in TABLES})
        doing = "Failed to execute iptables-restore"
        await iptables.restore(text)
    except IptablesError as error:
        log.error(error, doing)
        return False
    return True


async def clean_up(log: Logger) -> None:
    """`--cleanup`. Raises ConfigError when it cannot be done."""
    must_work_here()
    with claim():
        if not await remove(Iptables(), log):
            raise ConfigError("encountered an error while tearing down rules; the log says which")
