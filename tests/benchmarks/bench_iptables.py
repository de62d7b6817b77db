"""What the iptables mode's decisions cost, without iptables: the text of a sync for 5,000 Services of two endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.benchmarks.report import Row, alternate

from kubeglass.components.proxy.modes.iptables_plan import Planner
from kubeglass.components.proxy.modes.iptables_text import Config
from kubeglass.components.proxy.rules import Backend, ServicePort

_SERVICES = 5000
_BOUND = 0.15


def run(rounds: int) -> Iterable[Row]:
    """A sync after one change writes an eighth of the rules and must cost accordingly less than one that writes all."""
    config = Config(("127.64.0.1",), "127.128.0.0/16")
    ports = [_port(number) for number in range(_SERVICES)]
    planner = Planner(config)
    planner.done(planner.plan(ports, ()), 0.0)
    ports[7] = replace(ports[7], anywhere=ports[7].anywhere[:1])
    partial, full = alternate((lambda: planner.plan(ports, None), lambda: Planner(config).plan(ports, ())), rounds)
    ratio = partial / full
    what = f"one change among {_SERVICES:,} Services"
    yield Row(what, f"{partial * 1e3:.0f} ms", f"all anew {full * 1e3:.0f} ms", ratio, f"<= {_BOUND}", ratio <= _BOUND)


def _port(number: int) -> ServicePort:
    high, low = divmod(number, 250)
    backends = (Backend(f"127.128.{high}.{low + 1}", 8080), Backend(f"127.129.{high}.{low + 1}", 8080))
    return ServicePort(f"default/web-{number}:http", "TCP", 80, (f"127.96.{high}.{low + 1}",), anywhere=backends)
