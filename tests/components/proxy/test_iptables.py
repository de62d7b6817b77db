"""The iptables mode on real tables, each test in a network namespace of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.namespaces import iptables, own_network, saved_rules, skip_without_iptables
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.machinery.process import ConfigError
from kubeglass.components.proxy.metrics import IptablesMetrics
from kubeglass.components.proxy.modes import iptables_command
from kubeglass.components.proxy.modes.conntrack import Flow, stale
from kubeglass.components.proxy.modes.iptables import clean_up, iptables_mode
from kubeglass.components.proxy.modes.iptables_text import Config, chain_name
from kubeglass.components.proxy.modes.mode import Proxier
from kubeglass.components.proxy.rules import Backend, Ruleset, ServicePort
from kubeglass.logging.klog import Logger, Sink
from kubeglass.logging.record import Severity
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.textline import TextFormat
from kubeglass.logging.verbosity import Verbosity
from kubeglass.telemetry.metrics.registry import Registry

A, B = Backend("127.128.1.5", 80, "node-1"), Backend("127.128.1.6", 80, "node-1")
BOTH = Ruleset((ServicePort("ns1/svc1:p80", "TCP", 80, ("127.96.0.5",), anywhere=(A, B), here=(A, B)),))
ONE = Ruleset((ServicePort("ns1/svc1:p80", "TCP", 80, ("127.96.0.5",), anywhere=(A,), here=(A,)),))
TO_B = chain_name("KUBE-SEP-", "ns1/svc1:p80", "tcp", "127.128.1.6:80")


@pytest.fixture(autouse=True, params=["nft", "legacy"])
def network(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both kinds of iptables that distributions have, whichever is this one's default."""
    skip_without_iptables()
    for program in ("iptables", "iptables-save", "iptables-restore"):
        kind = program.replace("iptables", f"iptables-{request.param}")
        found = shutil.which(kind, path="/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"has no {kind}")
        (tmp_path / program).symlink_to(found)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with own_network():
        yield


class Lines:
    """An output that keeps what is logged."""

    lost = 0

    def __init__(self) -> None:
        self.text = ""

    def write(self, severity: Severity, line: str) -> None:
        self.text += line

    def flush(self) -> None:
        """Nothing is held back."""


class Bench:
    """What a proxier is given and what it tells."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.out = Lines()
        self.log = Logger(Sink(TextFormat(Sanitizer("off")), self.out, Verbosity(2)))
        self.wanted = asyncio.Event()

    @asynccontextmanager
    async def proxier(self, sync_seconds: float = 30.0) -> AsyncIterator[Proxier]:
        metrics = IptablesMetrics(self.registry)
        config = Config(("127.64.0.1",), "127.128.0.0/16")
        mode = iptables_mode(config, self.log, metrics, sync_seconds=sync_seconds, min_sync_seconds=0.0)
        async with mode.open(self.wanted.set) as made:
            yield made


@pytest.fixture
async def bench() -> Bench:
    return Bench()


FULL = """
kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}     +1
kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"}      =14
kubeproxy_sync_proxy_rules_iptables_last{table="nat",ip_family="IPv4"}       =14
kubeproxy_sync_proxy_rules_iptables_total{table="filter",ip_family="IPv4"}   =0
kubeproxy_sync_proxy_rules_iptables_last{table="filter",ip_family="IPv4"}    =0
kubeproxy_sync_proxy_rules_iptables_restore_failures_total                   =0
"""
PARTIAL = """
kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}  +1
kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}     +0
kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"}      =6
kubeproxy_sync_proxy_rules_iptables_last{table="nat",ip_family="IPv4"}       =6
kubeproxy_sync_proxy_rules_iptables_total{table="filter",ip_family="IPv4"}   =1
kubeproxy_sync_proxy_rules_iptables_last{table="filter",ip_family="IPv4"}    =1
"""
FAILED = """
kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}         +1
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} +1
kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}          +1
kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}             +0
"""
FAILED_AGAIN = """
kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}         +1
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} +0
kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}             +1
"""


def count(kind: str, saved: str) -> int:
    """Rules of the chains of ours in the nat table, without jumps and the canary."""
    table = saved.partition(f"*{kind}\n")[2].partition("COMMIT")[0]
    return sum(line.startswith("-A KUBE-") and "CANARY" not in line.split()[1] for line in table.splitlines())


async def test_the_rules_counted_are_the_rules_that_stand(bench: Bench) -> None:
    """A full sync, then a partial one that takes all endpoints away; the figures are those of iptables-save."""
    async with bench.proxier() as proxier:
        moments = Moments(bench.registry)
        assert (await proxier.sync(BOTH)).opened == 1
        moments.assert_moved(FULL)
        assert count("nat", saved_rules()) == 14
        moments = Moments(bench.registry)
        none = Ruleset((ServicePort("ns1/svc1:p80", "TCP", 80, ("127.96.0.5",)),))
        assert (await proxier.sync(none)).updated == 1
        moments.assert_moved(PARTIAL)
        saved = saved_rules()
        assert (count("nat", saved), count("filter", saved)) == (6, 1)
        assert "KUBE-SVC" not in saved
        assert "KUBE-SEP" not in saved


async def test_a_restore_that_fails(bench: Bench) -> None:
    """Somebody uses a chain that is to go, so iptables-restore refuses: told with the line, repeated in full."""
    async with bench.proxier() as proxier:
        await proxier.sync(BOTH)
        iptables("-t", "nat", "-A", "OUTPUT", "-j", TO_B)
        moments = Moments(bench.registry)
        assert not (await proxier.sync(ONE)).success
        moments.assert_moved(FAILED)
        assert '"Failed to execute iptables-restore"' in bench.out.text
        assert re.search(r"exit status [1-4]: .*line \d+", bench.out.text, re.DOTALL)
        assert f"-X {TO_B}" in bench.out.text
        assert '"Sync failed" ipFamily="IPv4" retryingTime="30s"' in bench.out.text
        assert f"-j {TO_B}" in saved_rules()  # as before: all or nothing
        moments = Moments(bench.registry)
        assert not (await proxier.sync(ONE)).success
        moments.assert_moved(FAILED_AGAIN)
        iptables("-t", "nat", "-D", "OUTPUT", "-j", TO_B)
        assert (await proxier.sync(ONE)).success
        assert TO_B not in saved_rules()


DELETED = """
kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"}       +2
kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} +1
"""
NOT_LOOKED_FOR = """
kubeproxy_conntrack_reconciler_deleted_entries_total                         +0
kubeproxy_conntrack_reconciler_sync_duration_seconds_count                   +0
"""


async def test_flows_to_an_endpoint_that_is_gone_are_ended(bench: Bench) -> None:
    """Two clients' flows are deleted, that of a third to another Service is not; nothing changed, nothing is sought."""
    dns = ServicePort("ns1/dns", "UDP", 53, ("127.96.0.7",), anywhere=(A,))
    other = ServicePort("ns1/other", "UDP", 53, ("127.96.0.8",), anywhere=(B,))
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        servers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for server, backend in zip(servers, (A, B), strict=True):
            server.bind((backend.ip, backend.port))
        async with bench.proxier() as proxier:
            await proxier.sync(Ruleset((dns, other)))
            for client, address in zip(clients, ("127.96.0.7", "127.96.0.7", "127.96.0.8"), strict=True):
                client.sendto(b"?", (address, 53))
            moments = Moments(bench.registry)
            await proxier.sync(Ruleset((replace(dns, anywhere=(B,)), other)))
            moments.assert_moved(DELETED)
            moments = Moments(bench.registry)
            await proxier.sync(Ruleset((replace(dns, anywhere=(B,)), other, *BOTH.ports)))
            moments.assert_moved(NOT_LOOKED_FOR)


def test_only_flows_to_services_are_stale() -> None:
    """Of no endpoint of the Service: stale. To something that is no Service: none of our business."""
    wanted = {("127.96.0.7", 53): frozenset({("127.128.1.5", 53)}), ("127.96.0.8", 53): frozenset[tuple[str, int]]()}
    kept = [Flow(b"1", ("127.96.0.7", 53), ("127.128.1.5", 53)), Flow(b"2", ("127.0.0.53", 53), ("9.9.9.9", 53))]
    gone = [Flow(b"3", ("127.96.0.7", 53), ("127.128.1.6", 53)), Flow(b"4", ("127.96.0.8", 53), ("127.128.1.6", 53))]
    assert stale([*kept, *gone], wanted) == gone


@pytest.mark.parametrize("flush", [("-F",), ("-t", "nat", "-F"), ("-t", "mangle", "-F")])
async def test_a_flush_is_noticed(bench: Bench, flush: tuple[str, ...]) -> None:
    """Whatever table somebody flushes: the canary is silent, a full sync is asked for and puts all rules back."""
    async with bench.proxier(sync_seconds=0.05) as proxier:
        await proxier.sync(BOTH)
        before = sorted(line for line in saved_rules().splitlines() if line.startswith("-A"))
        iptables(*flush)
        async with asyncio.timeout(10):
            await bench.wanted.wait()
        assert '"Reloading after iptables flush" ipFamily="IPv4" canary="KUBE-PROXY-CANARY"' in bench.out.text
        moments = Moments(bench.registry)
        assert (await proxier.sync(BOTH)).success
        moments.assert_moved('kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} +1')
        assert sorted(line for line in saved_rules().splitlines() if line.startswith("-A")) == before


async def test_nothing_is_asked_for_while_nobody_touches_the_tables(bench: Bench) -> None:
    """The canary lives through many looks at it."""
    async with bench.proxier(sync_seconds=0.01) as proxier:
        await proxier.sync(BOTH)
        bench.wanted.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await bench.wanted.wait()


async def test_nothing_is_left_behind(bench: Bench) -> None:
    """When the proxy ends, rules of others stand as before and ours are gone; so after --cleanup."""
    iptables("-N", "DOCKER")
    iptables("-A", "INPUT", "-j", "DOCKER")
    async with bench.proxier() as proxier:
        await proxier.sync(BOTH)
        assert saved_rules().count("KUBE-") > 10
    assert "KUBE-" not in saved_rules()
    assert "-A INPUT -j DOCKER" in saved_rules()
    await clean_up(bench.log)


async def test_a_killed_proxys_rules_are_taken_over(bench: Bench) -> None:
    """They serve on until the next proxy comes, who keeps what is wanted and deletes what is not."""
    async with bench.proxier() as proxier:
        await proxier.sync(BOTH)
        left = saved_rules()
    await iptables_command.Iptables().restore(left)
    async with bench.proxier() as proxier:
        await proxier.sync(ONE)
        assert TO_B not in saved_rules()
        assert saved_rules().count("-j KUBE-POSTROUTING") == 1
    await iptables_command.Iptables().restore(left)
    await clean_up(bench.log)
    assert "KUBE-" not in saved_rules()


async def test_a_kube_proxys_rules_are_left_alone(bench: Bench) -> None:
    """Chains that are not of kubeglass are somebody's real cluster."""
    iptables("-t", "nat", "-N", "KUBE-SERVICES")
    with pytest.raises(ConfigError, match=r"not of kubeglass.*unshare -n.*--cleanup"):
        async with bench.proxier():
            pytest.fail("it started all the same")
    assert ":KUBE-SERVICES" in saved_rules()


async def test_one_proxy_per_network_namespace(bench: Bench) -> None:
    """The second is told why and what to do, and does not touch the first one's rules; --cleanup neither."""
    async with bench.proxier() as proxier:
        await proxier.sync(BOTH)
        before = saved_rules().count("KUBE-")
        with pytest.raises(ConfigError, match=r"another kubeglass proxy.*unshare -n"):
            async with bench.proxier():
                pytest.fail("it started all the same")
        with pytest.raises(ConfigError, match=r"another kubeglass proxy"):
            await clean_up(bench.log)
        assert saved_rules().count("KUBE-") == before


async def test_without_root_or_programs(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Said before anything is tried."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match=r"needs root.*userspace"):
        async with bench.proxier():
            pytest.fail("it started all the same")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program, path: None)
    with pytest.raises(ConfigError, match=r"needs iptables, iptables-save, iptables-restore.*apt-get install iptables"):
        async with bench.proxier():
            pytest.fail("it started all the same")
