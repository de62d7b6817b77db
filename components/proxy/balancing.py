"""Which backend the next connection goes to: in turn, or by client. Pure.

A new client with affinity gets the backend with the highest hash of (client, backend). Proxies that share an address
therefore agree without talking to each other, and when a backend goes only its own clients move.
"""

from __future__ import annotations

from hashlib import blake2b

from kubeglass.components.proxy.rules import Backend, Rule

_REMEMBERED_CLIENTS = 65536


class Balancer:
    """The state of one frontend."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._turn = 0
        self._clients: dict[str, tuple[Backend, float]] = {}

    def update(self, rule: Rule) -> None:
        """Take a new version of the rule; clients of backends that are gone are forgotten."""
        self.rule = rule
        backends = set(rule.backends)
        self._clients = {
            client: seen for client, seen in self._clients.items() if seen[0] in backends and rule.affinity_seconds
        }

    def choices(self, client_ip: str, now: float) -> list[Backend]:
        """The backends to try, first choice first; empty when there are none."""
        backends = self.rule.backends
        if not backends:
            return []
        first = self._sticky(client_ip, now) if self.rule.affinity_seconds else self._in_turn()
        at = backends.index(first)
        return [*backends[at:], *backends[:at]]

    def _in_turn(self) -> Backend:
        backend = self.rule.backends[self._turn % len(self.rule.backends)]
        self._turn += 1
        return backend

    def _sticky(self, client_ip: str, now: float) -> Backend:
        known = self._clients.pop(client_ip, None)
        if known is not None and now - known[1] <= self.rule.affinity_seconds:
            backend = known[0]
        else:
            backend = max(self.rule.backends, key=lambda candidate: _hash(client_ip, candidate))
        self._clients[client_ip] = (backend, now)  # re-inserted: the oldest come first
        if len(self._clients) > _REMEMBERED_CLIENTS:
            del self._clients[next(iter(self._clients))]
        return backend


def _hash(client_ip: str, backend: Backend) -> bytes:
    return blake2b(f"{client_ip}>{backend.ip}:{backend.port}".encode(), digest_size=8).digest()
