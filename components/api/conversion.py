"""Between the version a client speaks and the version at rest. Pure; most kinds need only another apiVersion.

`to_stored` and `from_stored` return new objects. Rows exist where shapes differ: events.k8s.io keeps its Events as
core Events; other groups add theirs to CONVERSIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.conversions.autoscaling import from_v2, to_v2
from kubeglass.components.api.conversions.events import from_core, to_core
from kubeglass.components.api.conversions.flowcontrol import FLOWCONTROL
from kubeglass.components.api.kinds import Kind

Object = dict[str, Any]
Convert = Callable[[Object], Object]


@dataclass(frozen=True, slots=True)
class Conversion:
    """Both directions; each takes and returns whole objects, kind and apiVersion aside."""

    to_stored: Convert
    from_stored: Convert


CONVERSIONS: Mapping[tuple[str, str, str], Conversion] = {
    ("events.k8s.io", "v1", "events"): Conversion(to_core, from_core),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(to_v2, from_v2),
    **{key: Conversion(*pair) for key, pair in FLOWCONTROL.items()},
}


def needed(kind: Kind) -> bool:
    """Whether the bytes at rest are not what a client of this version is shown."""
    return kind.api_version != kind.stored_api_version


def to_stored(kind: Kind, obj: Object) -> Object:
    """The object as it is kept."""
    if not needed(kind):
        return obj
    conversion = CONVERSIONS.get((kind.group, kind.version, kind.plural))
    kept = conversion.to_stored(obj) if conversion is not None else dict(obj)
    return kept | {"kind": kind.kind, "apiVersion": kind.stored_api_version}


def from_stored(kind: Kind, obj: Object) -> Object:
    """A kept object as this version shows it."""
    if not needed(kind):
        return obj
    conversion = CONVERSIONS.get((kind.group, kind.version, kind.plural))
    shown = conversion.from_stored(obj) if conversion is not None else dict(obj)
    return {"kind": kind.kind, "apiVersion": kind.api_version} | {
        name: value for name, value in shown.items() if name not in ("kind", "apiVersion")
    }


def stored_kind(kind: Kind) -> Kind:
    """The row of the version at rest; the kind itself where it is the same or not built in."""
    group, _, version = kind.stored_api_version.rpartition("/")
    return kinds.find(group, version, kind.plural) or kind
