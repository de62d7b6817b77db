"""events.k8s.io/v1 Events as core/v1 Events and back."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: new for new, core in _TO_CORE.items()}


def to_core(obj: Object) -> Object:
    """The core form: `regarding` is `involvedObject`, `note` is `message`."""
    return {_TO_CORE.get(name, name): value for name, value in obj.items()}


def from_core(obj: Object) -> Object:
    return {_FROM_CORE.get(name, name): value for name, value in obj.items()}
