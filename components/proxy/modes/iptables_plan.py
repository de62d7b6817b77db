"""What the next iptables-restore writes: everything, or the chains of what changed. Pure.

As upstream's MinimizeIPTablesRestore: the shared chains are always written anew, chains of a Service only when it
changed or the sync is a full one. A full sync is the first, the one after a failure, and one now and then. Chains that
no Service uses any more go at once; in large clusters they wait for a full sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from kubeglass.components.proxy.modes.iptables_text import (
    SHARED_CHAINS,
    Config,
    PortText,
    can_be_carried,
    chain_line,
    frame,
    last_entries,
    port_text,
    restore,
)
from kubeglass.components.proxy.rules import ServicePort

FULL_SYNC_SECONDS = 3600.0
LARGE_CLUSTER_ENDPOINTS = 1000
_Key = tuple[str, str]  # name and protocol


@dataclass(frozen=True, slots=True)
class Known:
    """A ServicePort and the rules that were made of it."""

    port: ServicePort
    brief: bool
    text: PortText


@dataclass(frozen=True, slots=True)
class Restore:
    """One sync: the input of iptables-restore, and what is to be said of it."""

    full: bool
    text: str
    rules_total: Mapping[str, int]  # by table: all that stand afterwards
    rules_last: Mapping[str, int]  # by table: those written now
    chains_last: Mapping[str, int]
    endpoints: int
    opened: int
    updated: int
    closed: int
    refused: tuple[str, ...]  # ServicePorts that are new or changed, and cannot be carried
    known: Mapping[_Key, Known]
    standing: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Table:
    chains: tuple[str, ...]
    rules: tuple[str, ...]
    removals: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        return [*map(chain_line, self.chains), *self.rules, *self.removals]


class Planner:
    """What stands in the kernel as far as we know, and whether that is to be believed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: Mapping[_Key, Known] = {}
        self._standing: frozenset[str] = frozenset()
        self._full_since: float | None = None

    def distrust(self) -> None:
        """The next sync is a full one: a restore failed, or somebody else changed the tables."""
        self._full_since = None

    def needs_full(self, now: float) -> bool:
        """Whether the next sync is a full one."""
        return self._full_since is None or self.is_old(now)

    def is_old(self, now: float) -> bool:
        """Whether everything was written, but long ago."""
        return self._full_since is not None and now - self._full_since > FULL_SYNC_SECONDS

    def plan(self, ports: Iterable[ServicePort], found: Iterable[str] | None) -> Restore:
        """The next sync: a full one over the chains of Services `found` in the kernel, a partial one without."""
        wanted = {(port.name, port.protocol): port for port in ports}
        endpoints = sum(len(port.anywhere) for port in wanted.values())
        large = endpoints > LARGE_CLUSTER_ENDPOINTS
        full = found is not None
        known = {key: self._make(key, port, brief=large, anew=full) for key, port in wanted.items()}
        changed = [key for key, one in known.items() if key not in self._known or self._known[key].port != one.port]
        written = [known[key].text for key in (known if full else changed)]
        texts = [one.text for one in known.values()]
        active = frozenset(name for text in texts for name in text.chains)
        standing = self._standing if found is None else frozenset(found)
        stale = standing - active if full or not large else frozenset()
        tables, own = self._tables(texts, written, sorted(stale)), sum(len(text.rules) for text in texts)
        now = {name: len(table.rules) for name, table in tables.items()}
        opened = sum(key not in self._known for key in changed)
        return Restore(
            full=full,
            text=restore((name, table.lines) for name, table in tables.items()),
            rules_total={**now, "nat": now["nat"] - sum(len(text.rules) for text in written) + own},
            rules_last=now,
            chains_last={name: len(table.chains) for name, table in tables.items()},
            endpoints=endpoints,
            opened=opened,
            updated=len(changed) - opened,
            closed=len(self._known.keys() - known.keys()),
            refused=tuple(key[0] for key in changed if not can_be_carried(known[key].port)),
            known=known,
            standing=(standing | active) - stale,
        )

    def _make(self, key: _Key, port: ServicePort, *, brief: bool, anew: bool) -> Known:
        """The rules of a port: those it had, unless it changed or a full sync wants other comments."""
        before = self._known.get(key)
        if before is not None and before.port == port and (before.brief == brief or not anew):
            return before
        return Known(port, brief, port_text(port, self._config, brief=brief))

    def _tables(self, texts: list[PortText], written: list[PortText], stale: list[str]) -> dict[str, _Table]:
        """The entries of all ports, the chains of those to write, and the end of stale chains."""
        entries = [*frame(self._config), *chain.from_iterable(text.nat_entries for text in texts)]
        own = chain.from_iterable(text.rules for text in written)
        chains = chain.from_iterable(text.chains for text in written)
        return {
            "filter": _Table(
                SHARED_CHAINS["filter"],
                tuple(chain.from_iterable(text.filter_entries for text in texts)),
            ),
            "nat": _Table(
                (*SHARED_CHAINS["nat"], *chains, *stale),
                (*entries, *last_entries(self._config), *own),
                tuple(f"-X {name}" for name in stale),
            ),
        }

    def done(self, restored: Restore, now: float) -> None:
        """It stands in the kernel."""
        self._known, self._standing = restored.known, restored.standing
        if restored.full:
            self._full_since = now
