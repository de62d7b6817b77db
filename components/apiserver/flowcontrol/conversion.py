"""The older served versions of the flowcontrol API, converted to and from v1. Pure, on decoded JSON.

v1alpha1, v1beta1 and v1beta2 say `assuredConcurrencyShares` and read 0 as "not given"; v1beta3 says
`nominalConcurrencyShares` and keeps an explicit 0 only with an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.apiserver.flowcontrol.objects import GROUP

VERSIONS = ("v1", "v1beta3", "v1beta2", "v1beta1", "v1alpha1")
"""In order of preference; only v1 is served unless --runtime-config switches others on."""

ASSURED = frozenset(("v1alpha1", "v1beta1", "v1beta2"))
PRESERVE_ZERO_ANNOTATION = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
DEFAULT_SHARES = 30

Object = dict[str, Any]


def to_v1(obj: Mapping[str, Any]) -> Object:
    """A FlowSchema or PriorityLevelConfiguration of any version as v1."""
    version = _version(obj)
    converted = dict(obj) | {"apiVersion": f"{GROUP}/v1"}
    limited = _limited(obj)
    if version == "v1" or limited is None:
        return converted
    shares = limited.pop("assuredConcurrencyShares" if version in ASSURED else "nominalConcurrencyShares", None)
    if not shares and not (version == "v1beta3" and shares == 0 and _take_marker(converted)):
        shares = DEFAULT_SHARES
    return _with_limited(converted, {"nominalConcurrencyShares": shares} | limited)


def from_v1(obj: Mapping[str, Any], version: str) -> Object:
    """A v1 object as another version."""
    converted = dict(obj) | {"apiVersion": f"{GROUP}/{version}"}
    limited = _limited(obj)
    if version == "v1" or limited is None:
        return converted
    shares = limited.pop("nominalConcurrencyShares", None)
    if version == "v1beta3" and shares == 0:
        _put_marker(converted)
    if shares is None:
        return _with_limited(converted, limited)
    name = "assuredConcurrencyShares" if version in ASSURED else "nominalConcurrencyShares"
    return _with_limited(converted, {name: shares} | limited)


def _version(obj: Mapping[str, Any]) -> str:
    group, _, version = str(obj.get("apiVersion", "")).partition("/")
    if group != GROUP or version not in VERSIONS:
        raise ValueError(f"{obj.get('apiVersion')!r} is not a version of {GROUP}")
    return version


def _limited(obj: Mapping[str, Any]) -> Object | None:
    """A copy of spec.limited, if there is one."""
    spec = obj.get("spec")
    limited = spec.get("limited") if isinstance(spec, Mapping) else None
    return dict(limited) if isinstance(limited, Mapping) else None


def _with_limited(obj: Object, limited: Object) -> Object:
    return obj | {"spec": dict(obj["spec"]) | {"limited": limited}}


def _take_marker(obj: Object) -> bool:
    """Whether an explicit 0 is meant; the marker does not survive the conversion."""
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    if annotations.pop(PRESERVE_ZERO_ANNOTATION, None) != "":
        return False
    metadata["annotations"] = annotations
    if not annotations:
        del metadata["annotations"]
    obj["metadata"] = metadata
    return True


def _put_marker(obj: Object) -> None:
    metadata = dict(obj.get("metadata") or {})
    metadata["annotations"] = dict(metadata.get("annotations") or {}) | {PRESERVE_ZERO_ANNOTATION: ""}
    obj["metadata"] = metadata
