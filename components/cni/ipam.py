"""Address allocation for one node, one file per address, as the host-local plugin keeps them. Stdlib only.

DIR/NETWORK/ADDRESS holds "CONTAINERID\\r\\nIFNAME"; DIR/NETWORK/last_reserved_ip.0 says where to go on, so that an
address is not given out again right after it was freed. A reservation is one `link`: a crash leaves all of it or none.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_LAST = "last_reserved_ip.0"
_LOCK = "lock"
_FIRST_HOST = 2  # .1 is where a bridge would have its address


class Exhausted(Exception):
    """Every address of the range is taken."""


class AddressStore:
    """The reservations of one network on one node."""

    def __init__(self, directory: Path, subnet: str) -> None:
        self._directory = directory
        self._subnet = ipaddress.IPv4Network(subnet)
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def prefix_length(self) -> int:
        return self._subnet.prefixlen

    def allocate(self, container_id: str, interface: str) -> str:
        """An address for a container; the one it already has, if any. Raises Exhausted."""
        with self._locked():
            taken = self._reservations()
            for address, owner in taken.items():
                if owner == (container_id, interface):
                    return address
            for address in self._candidates():
                if address not in taken and self._reserve(address, container_id, interface):
                    return address
        raise Exhausted(f"no IP addresses available in range set: {self._subnet}")

    def address_of(self, container_id: str, interface: str) -> str | None:
        """The address a container holds."""
        owner = (container_id, interface)
        return next((address for address, holder in self._reservations().items() if holder == owner), None)

    def release(self, container_id: str, interface: str) -> None:
        """Give back what a container holds; nothing to give back is fine."""
        with self._locked():
            for address, owner in self._reservations().items():
                if owner == (container_id, interface):
                    (self._directory / address).unlink(missing_ok=True)

    def retain(self, valid: Collection[tuple[str, str]]) -> None:
        """Give back every address whose (container, interface) is not among the valid ones."""
        with self._locked():
            for address, owner in self._reservations().items():
                if owner not in valid:
                    (self._directory / address).unlink(missing_ok=True)

    def free(self) -> bool:
        """Whether there is an address left to give."""
        return len(self._reservations()) < self._subnet.num_addresses - 1 - _FIRST_HOST

    def _reservations(self) -> dict[str, tuple[str, str]]:
        found = {}
        for entry in self._directory.iterdir():
            if entry.name[0].isdigit():
                container_id, _, interface = entry.read_bytes().decode().partition("\r\n")  # text mode would eat the CR
                found[entry.name] = (container_id, interface)
        return found

    def _candidates(self) -> Iterator[str]:
        """All usable addresses, beginning after the one given out last."""
        first, last = _FIRST_HOST, self._subnet.num_addresses - 2
        try:
            previous = int(ipaddress.IPv4Address((self._directory / _LAST).read_text().strip()))
            start = previous - int(self._subnet.network_address) + 1
        except (OSError, ValueError):
            start = first
        offsets = [*range(max(start, first), last + 1), *range(first, min(max(start, first), last + 1))]
        return (str(self._subnet.network_address + offset) for offset in offsets)

    def _reserve(self, address: str, container_id: str, interface: str) -> bool:
        draft = self._directory / f".{os.getpid()}.draft"
        draft.write_bytes(f"{container_id}\r\n{interface}".encode())
        try:
            os.link(draft, self._directory / address)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        (self._directory / _LAST).write_text(address)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Plugins of several pods run at the same time."""
        with open(self._directory / _LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
