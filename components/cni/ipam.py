"""Address allocation for one node, one file per address, as the host-local plugin keeps them. Stdlib only.

DIR/NETWORK/ADDRESS holds "CONTAINERID\\r\\nIFNAME"; DIR/NETWORK/last_reserved_ip.0 says where to go on, so that an
address is not given out again right after it was freed. A reservation is one `link`: a crash leaves all of it or none.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LAST = "last_reserved_ip.0"
_LOCK = "lock"
_FIRST_HOST = 2  # .1 is where a bridge would have its address


class Exhausted(Exception):
    """Every address of the range is taken."""


class AddressStore:
    """The reservations of one network on one node."""

    def __init__(self, directory: str | os.PathLike[str], subnet: str) -> None:
        self._directory = os.fspath(directory)
        self._subnet = ipaddress.IPv4Network(subnet)
        os.makedirs(self._directory, exist_ok=True)

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
                    os.unlink(self._file(address))

    def retain(self, valid: Collection[tuple[str, str]]) -> None:
        """Give back every address whose (container, interface) is not among the valid ones."""
        with self._locked():
            for address, owner in self._reservations().items():
                if owner not in valid:
                    os.unlink(self._file(address))

    def free(self) -> bool:
        """Whether there is an address left to give."""
        return len(self._reservations()) < self._subnet.num_addresses - 1 - _FIRST_HOST

    def _reservations(self) -> dict[str, tuple[str, str]]:
        found = {}
        for name in os.listdir(self._directory):
            if name[0].isdigit():
                container_id, _, interface = _read(self._file(name)).partition("\r\n")
                found[name] = (container_id, interface)
        return found

    def _file(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _candidates(self) -> Iterator[str]:
        """All usable addresses, beginning after the one given out last."""
        first, last = _FIRST_HOST, self._subnet.num_addresses - 2
        try:
            previous = int(ipaddress.IPv4Address(_read(self._file(_LAST)).strip()))
            start = previous - int(self._subnet.network_address) + 1
        except (OSError, ValueError):
            start = first
        offsets = [*range(max(start, first), last + 1), *range(first, min(max(start, first), last + 1))]
        return (str(self._subnet.network_address + offset) for offset in offsets)

    def _reserve(self, address: str, container_id: str, interface: str) -> bool:
        draft = self._file(f".{os.getpid()}.draft")
        _write(draft, f"{container_id}\r\n{interface}")
        try:
            os.link(draft, self._file(address))
        except FileExistsError:
            return False
        finally:
            os.unlink(draft)
        _write(self._file(_LAST), address)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Plugins of several pods run at the same time."""
        with open(self._file(_LOCK), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(file: str) -> str:
    with open(file, newline="") as stream:  # the CR is part of the format
        return stream.read()


def _write(file: str, text: str) -> None:
    with open(file, "w", newline="") as stream:
        stream.write(text)
