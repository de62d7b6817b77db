"""Pod addresses of simulated nodes: a small range per node, remembered only through the Pods that hold them."""

from __future__ import annotations

import ipaddress


class Addresses:
    """The range of one node. The first address is left out, as a bridge would take it."""

    __slots__ = ("_first", "_held", "_next", "_size")

    def __init__(self, cidr: str) -> None:
        network = ipaddress.ip_network(cidr)
        self._first = int(network.network_address) + 2
        self._size = network.num_addresses - 3
        self._next = 0
        self._held: dict[str, int] = {}

    def take(self, pod_uid: str) -> str:
        """The Pod's address; the same one until it is released. Raises LookupError when all are taken."""
        offset = self._held.get(pod_uid)
        if offset is None:
            offset = self._held[pod_uid] = self._free()
        return str(ipaddress.ip_address(self._first + offset))

    def adopt(self, pod_uid: str, address: str) -> None:
        """A Pod has this address already."""
        offset = int(ipaddress.ip_address(address)) - self._first
        if 0 <= offset < self._size:
            self._held[pod_uid] = offset

    def release(self, pod_uid: str) -> None:
        """The Pod is gone."""
        self._held.pop(pod_uid, None)

    def _free(self) -> int:
        """The next free one after the one given last, so that an address is not used again at once."""
        taken = set(self._held.values())
        for step in range(self._size):
            offset = (self._next + step) % self._size
            if offset not in taken:
                self._next = offset + 1
                return offset
        raise LookupError("no free address on the node")
