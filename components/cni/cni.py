"""A CNI plugin: verbs in environment variables, configuration on stdin, result or error on stdout. Stdlib only.

ADD, DEL, CHECK, STATUS, GC, VERSION of the CNI specification 1.1.0, for the networks in `NETWORKS`, chosen by the
configuration's `type`. Run by a container runtime as an executable (main.py) or as `kubeglass cni`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time

from kubeglass.components.cni import loopback
from kubeglass.components.cni.errors import (
    CniError,
    decoding_failure,
    incompatible_version,
    invalid_configuration,
    invalid_environment,
    io_failure,
    unavailable,
)
from kubeglass.components.cni.ipam import Exhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TextIO

    Configuration = Mapping[str, Any]

    class Network(Protocol):
        """One kind of network."""

        def add(self, config: Configuration, attachment: Attachment) -> dict[str, Any]:
            """Attach; the result without its cniVersion. Repeating it gives the same answer."""

        def delete(self, config: Configuration, attachment: Attachment) -> None:
            """Detach; what is not attached is fine."""

        def check(self, config: Configuration, attachment: Attachment) -> None:
            """Raises CniError when the attachment is not as ADD left it."""

        def status(self, config: Configuration) -> None:
            """Raises CniError when ADD could not work now."""

        def collect_garbage(self, config: Configuration, valid: set[tuple[str, str]]) -> None:
            """Free what belongs to attachments outside `valid` (container id, interface)."""


SUPPORTED_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
VERSION = "1.1.0"
_VALID_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_VALID_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")


class Attachment:
    """Which container, by which interface: what ADD, DEL and CHECK are about."""

    __slots__ = ("container_id", "interface", "netns")

    def __init__(self, container_id: str, interface: str, netns: str) -> None:
        self.container_id = container_id
        self.interface = interface
        self.netns = netns


NETWORKS: Mapping[str, Network] = {"kubeglass-loopback": loopback.Loopback()}


def run(environment: Mapping[str, str], stdin: str) -> tuple[int, dict[str, Any] | None]:
    """One invocation: exit status and what to print."""
    version = VERSION
    try:
        verb = _required(environment, "CNI_COMMAND")
        if verb not in VERBS:
            raise invalid_environment(f"unknown CNI_COMMAND: {verb}")
        config = _configuration(stdin)
        version = config.get("cniVersion") or "0.1.0"
        if verb == "VERSION":
            return 0, {"cniVersion": VERSION, "supportedVersions": list(SUPPORTED_VERSIONS)}
        _validate(config, version)
        result = VERBS[verb](_network(config), config, environment)
        return 0, None if result is None else {"cniVersion": version, **result}
    except CniError as error:
        return 1, {"cniVersion": version, **error.wire()}
    except Exhausted as error:
        return 1, {"cniVersion": version, **CniError(11, str(error)).wire()}
    except OSError as error:
        return 1, {"cniVersion": version, **io_failure(error).wire()}


def main(stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout, stderr: TextIO = sys.stderr) -> int:
    """Run as an executable."""
    start = time.time_ns()
    code, answer = run(os.environ, stdin.read())
    if answer is not None:
        stdout.write(json.dumps(answer) + "\n")
    if os.environ.get("KUBEGLASS_SPANS") == "stderr":
        stderr.write(_span(start, (answer or {}).get("msg", "") if code else ""))
    return code


def _span(start_ns: int, error: str) -> str:
    """This run as a span, for the runtime that asked for it (it has the parent, and exports)."""
    name = f"{os.environ.get('CNI_COMMAND', '')} network"
    told = {"name": name, "start": start_ns, "end": time.time_ns(), "pid": os.getpid(), "error": error}
    return f"kubeglass-span: {json.dumps(told)}\n"


# -- verbs ----------------------------------------------------------------------------------------------------------


def _add(network: Network, config: Configuration, environment: Mapping[str, str]) -> dict[str, Any]:
    return network.add(config, _attachment(environment))


def _delete(network: Network, config: Configuration, environment: Mapping[str, str]) -> None:
    network.delete(config, _attachment(environment, netns_required=False))


def _check(network: Network, config: Configuration, environment: Mapping[str, str]) -> None:
    if "prevResult" not in config:
        raise invalid_configuration("required prevResult missing")
    network.check(config, _attachment(environment))


def _status(network: Network, config: Configuration, environment: Mapping[str, str]) -> None:
    try:
        network.status(config)
    except OSError as error:
        raise unavailable(str(error)) from error


def _collect_garbage(network: Network, config: Configuration, environment: Mapping[str, str]) -> None:
    attachments = config.get("cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    if not isinstance(attachments, list):
        raise invalid_configuration("cni.dev/valid-attachments is required for GC")
    network.collect_garbage(config, {(row["containerID"], row["ifname"]) for row in attachments})


VERBS: Mapping[str, Callable[[Network, Configuration, Mapping[str, str]], dict[str, Any] | None]] = {
    "ADD": _add,
    "DEL": _delete,
    "CHECK": _check,
    "STATUS": _status,
    "GC": _collect_garbage,
    "VERSION": lambda network, config, environment: None,
}


# -- reading --------------------------------------------------------------------------------------------------------


def _configuration(stdin: str) -> dict[str, Any]:
    try:
        config = json.loads(stdin)
    except ValueError as error:
        raise decoding_failure(f"error unmarshalling network configuration: {error}") from error
    if not isinstance(config, dict):
        raise decoding_failure("network configuration is not an object")
    return config


def _validate(config: Configuration, version: str) -> None:
    if version not in SUPPORTED_VERSIONS:
        raise incompatible_version(version, SUPPORTED_VERSIONS)
    name = config.get("name")
    if not name:
        raise invalid_configuration("missing network name")
    if not _VALID_NETWORK.fullmatch(str(name)):
        raise invalid_configuration(f"invalid characters found in network name: {name}")


def _network(config: Configuration) -> Network:
    network = NETWORKS.get(str(config.get("type")))
    if network is None:
        raise invalid_configuration(f"unknown network type {config.get('type')!r}: expected one of {sorted(NETWORKS)}")
    return network


def _attachment(environment: Mapping[str, str], *, netns_required: bool = True) -> Attachment:
    container_id = _required(environment, "CNI_CONTAINERID")
    if not _VALID_ID.fullmatch(container_id):
        raise invalid_environment(f"invalid characters in containerID: {container_id}")
    netns = _required(environment, "CNI_NETNS") if netns_required else environment.get("CNI_NETNS", "")
    interface = _required(environment, "CNI_IFNAME")
    if len(interface) > 15 or interface in (".", "..") or any(sign in interface for sign in "/: \t"):
        raise invalid_environment(f"invalid interface name: {interface}")
    return Attachment(container_id, interface, netns)


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise invalid_environment(f"required env variables [{name}] missing")
    return value
