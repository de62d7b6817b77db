"""Defaults of FlowSchemas and PriorityLevelConfigurations, in every version a client may speak.

Upstream: pkg/apis/flowcontrol/*/defaults.go. Before v1 a share of 0 meant that none was given; v1beta3 can say
otherwise with an annotation.
"""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.conversions.flowcontrol import DEFAULT_SHARES, keeps_zero, shares_field
from kubeglass.components.api.defaults.members import child, fill

Object = dict[str, Any]
_QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


def flow_schema(obj: Object) -> None:
    """Fill in the defaults."""
    spec = child(obj, "spec")
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def priority_level(obj: Object) -> None:
    """Fill in the defaults."""
    spec = child(obj, "spec")
    if spec.get("type") == "Exempt":
        fill(child(spec, "exempt"), nominalConcurrencyShares=0, lendablePercent=0)
    elif spec.get("type") == "Limited" and isinstance(spec.get("limited"), dict):
        _limited(spec["limited"], obj)


def _limited(limited: Object, obj: Object) -> None:
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    shares = shares_field(version)
    if limited.get(shares) is None or (limited[shares] == 0 and not keeps_zero(obj, version)):
        limited[shares] = DEFAULT_SHARES
    fill(limited, lendablePercent=0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if isinstance(queuing, dict):
        for name, value in _QUEUING.items():
            queuing[name] = queuing.get(name) or value
