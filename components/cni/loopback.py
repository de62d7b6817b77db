"""The loopback network: every pod gets a 127.x address of its node's range. No privilege, no interface, no route.

All of 127.0.0.0/8 is local on Linux, so an address needs no set-up: reserving it is attaching. Pods share the host's
network stack; who binds what is up to their programs. Stdlib only.
"""

from __future__ import annotations

import ipaddress
import os

from kubeglass.components.cni.errors import CniError, invalid_configuration, unknown_container
from kubeglass.components.cni.ipam import AddressStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kubeglass.components.cni.cni import Attachment

_INTERFACE = "lo"


class Loopback:
    """Configuration: `ipam: {subnet: 127.x.y.0/24, dataDir: DIR}`."""

    def add(self, config: Mapping[str, Any], attachment: Attachment) -> dict[str, Any]:
        store = _store(config)
        address = store.allocate(attachment.container_id, attachment.interface)
        return {
            "interfaces": [{"name": _INTERFACE, "sandbox": attachment.netns}],
            "ips": [{"address": f"{address}/{store.prefix_length}", "interface": 0}],
            "dns": config.get("dns") or {},
        }

    def delete(self, config: Mapping[str, Any], attachment: Attachment) -> None:
        _store(config).release(attachment.container_id, attachment.interface)

    def check(self, config: Mapping[str, Any], attachment: Attachment) -> None:
        held = _store(config).address_of(attachment.container_id, attachment.interface)
        if held is None:
            raise unknown_container(attachment.container_id, "it holds no address of this network")
        expected = {str(row["address"]).partition("/")[0] for row in config["prevResult"].get("ips", ())}
        if held not in expected:
            raise CniError(100, f"container {attachment.container_id} holds {held}, not {sorted(expected)}")

    def status(self, config: Mapping[str, Any]) -> None:
        if not _store(config).free():
            raise CniError(50, "no IP addresses available")

    def collect_garbage(self, config: Mapping[str, Any], valid: set[tuple[str, str]]) -> None:
        _store(config).retain(valid)


def _store(config: Mapping[str, Any]) -> AddressStore:
    ipam = config.get("ipam") or {}
    try:
        subnet = ipaddress.IPv4Network(ipam["subnet"])
        directory = str(ipam["dataDir"])
    except KeyError as error:
        raise invalid_configuration(f"ipam.{error.args[0]} is required") from error
    except ValueError as error:
        raise invalid_configuration(f"ipam.subnet: {error}") from error
    if not subnet.is_loopback or subnet.prefixlen > 30:
        raise invalid_configuration(f"ipam.subnet {subnet} is not a usable range of 127.0.0.0/8")
    return AddressStore(os.path.join(directory, str(config["name"])), str(subnet))
