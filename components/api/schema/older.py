"""Definitions of API versions that v1.36 no longer publishes but this server can still be told to serve.

They are the definitions of the version they convert to, under another name and with the members they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kubeglass.components.api.conversions.flowcontrol import ASSURED, VERSIONS

Definitions = Mapping[str, Mapping[str, Any]]
_FLOWCONTROL = "io.k8s.api.flowcontrol."
_SHARES = (b'"nominalConcurrencyShares"', b'"assuredConcurrencyShares"')


def older_version(name: str) -> str:
    """The version a definition of `older_definitions` belongs to; "" for any other."""
    version = name.removeprefix(_FLOWCONTROL).partition(".")[0] if name.startswith(_FLOWCONTROL) else ""
    return version if version in VERSIONS[1:] else ""


def older_definitions(definitions: Definitions) -> dict[str, Mapping[str, Any]]:
    """Name → definition of everything in the older versions."""
    current = {name: raw for name, raw in definitions.items() if name.startswith(f"{_FLOWCONTROL}v1.")}
    exempt = f"{_FLOWCONTROL}v1.ExemptPriorityLevelConfiguration"
    found: dict[str, Mapping[str, Any]] = {}
    for version in VERSIONS[1:]:
        for name, raw in current.items():
            text = msgspec.json.encode(raw)
            text = text.replace(f"{_FLOWCONTROL}v1.".encode(), f"{_FLOWCONTROL}{version}.".encode())
            text = text.replace(b'"version":"v1"', f'"version":"{version}"'.encode())
            if version in ASSURED and name != exempt:
                text = text.replace(*_SHARES)
            found[name.replace(".v1.", f".{version}.")] = msgspec.json.decode(text)
    return found
