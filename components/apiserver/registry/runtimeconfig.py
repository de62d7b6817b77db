"""--runtime-config: which API versions are served besides, or instead of, those that a default server offers.

Entries are `group/version[/resource]=BOOL` (`v1=BOOL` for the core) and `api/all`, `api/ga`, `api/beta`, `api/alpha`;
what is more specific wins, as in k8s.io/apiserver/pkg/server/resourceconfig.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kubeglass.components.api.kinds import Kind
from kubeglass.components.machinery.process import ConfigError

_TRUE, _FALSE = ("true", "1", "t", "T", "TRUE", "True"), ("false", "0", "f", "F", "FALSE", "False")
_STAGES = {"api/ga": re.compile(r"^v\d+$"), "api/beta": re.compile(r"^v\d+beta\d+$"),
           "api/alpha": re.compile(r"^v\d+alpha\d+$")}  # fmt: skip


def served_kinds(kinds: Iterable[Kind], entries: Sequence[str]) -> list[Kind]:
    """The kinds that are served under this configuration. Raises ConfigError."""
    rows = list(kinds)
    switches = _switches(entries, {row.group for row in rows})
    return [row for row in rows if _is_served(row, switches)]


def _switches(entries: Sequence[str], groups: set[str]) -> dict[str, bool]:
    switches = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if value not in (*_TRUE, *_FALSE, ""):
            raise ConfigError(f"invalid value of {key}={value}")
        switches[key] = value not in _FALSE
    if switches == {"api/all": False}:
        raise ConfigError("invalid key with only api/all=false")
    unknown = [key.partition("/")[0] for key in switches if key.count("/") and not key.startswith("api/")]
    if unknown := [group for group in unknown if group not in groups]:
        raise ConfigError(f"unknown api groups {','.join(unknown)}")
    return switches


def _is_served(row: Kind, switches: dict[str, bool]) -> bool:
    stage = next((name for name, pattern in _STAGES.items() if pattern.match(row.version)), "")
    for key in (f"{row.api_version}/{row.plural}", row.api_version, stage, "api/all"):
        if key in switches:
            return switches[key]
    return row.served
