"""The older versions of flowcontrol.apiserver.k8s.io, converted to and from v1. Pure, on decoded JSON.

v1alpha1, v1beta1 and v1beta2 say `assuredConcurrencyShares`, v1beta3 and v1 `nominalConcurrencyShares`. Before v1 a
share of 0 reads as "not given"; v1beta3 keeps an explicit 0 with an annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

GROUP = "flowcontrol.apiserver.k8s.io"
VERSIONS = ("v1", "v1beta3", "v1beta2", "v1beta1", "v1alpha1")
"""In order of preference; only v1 is served unless --runtime-config switches others on."""
ASSURED = frozenset(("v1alpha1", "v1beta1", "v1beta2"))
PRESERVE_ZERO_ANNOTATION = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
DEFAULT_SHARES = 30

Object = dict[str, Any]
Convert = Callable[[Object], Object]


def shares_field(version: str) -> str:
    """What a version calls the shares of a limited level."""
    return "assuredConcurrencyShares" if version in ASSURED else "nominalConcurrencyShares"


def keeps_zero(obj: Mapping[str, Any], version: str) -> bool:
    """Whether shares of 0 in this object mean 0."""
    if version == "v1beta3":
        return ((obj.get("metadata") or {}).get("annotations") or {}).get(PRESERVE_ZERO_ANNOTATION) == ""
    return version not in ASSURED


def to_v1(version: str, obj: Mapping[str, Any]) -> Object:
    """An object of another version as v1."""
    converted = dict(obj) | {"apiVersion": f"{GROUP}/v1"}
    limited = _limited(obj)
    if version == "v1":
        return converted
    if limited is not None:
        shares = limited.pop(shares_field(version), None)
        if shares is None or (shares == 0 and not keeps_zero(obj, version)):
            shares = DEFAULT_SHARES
        converted = _with_limited(converted, {"nominalConcurrencyShares": shares} | limited)
    return _without_marker(converted)


def from_v1(version: str, obj: Mapping[str, Any]) -> Object:
    """A v1 object as another version."""
    converted = dict(obj) | {"apiVersion": f"{GROUP}/{version}"}
    limited = _limited(obj)
    if version == "v1" or limited is None:
        return converted
    shares = limited.pop("nominalConcurrencyShares", None)
    if version == "v1beta3" and shares == 0:
        _put_marker(converted)
    return _with_limited(converted, limited if shares is None else {shares_field(version): shares} | limited)


def _limited(obj: Mapping[str, Any]) -> Object | None:
    """A copy of spec.limited, if there is one."""
    spec = obj.get("spec")
    limited = spec.get("limited") if isinstance(spec, Mapping) else None
    return dict(limited) if isinstance(limited, Mapping) else None


def _with_limited(obj: Object, limited: Object) -> Object:
    return obj | {"spec": dict(obj["spec"]) | {"limited": limited}}


def _without_marker(obj: Object) -> Object:
    """The object without the annotation that only v1beta3 needs."""
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    if PRESERVE_ZERO_ANNOTATION not in annotations:
        return obj
    del annotations[PRESERVE_ZERO_ANNOTATION]
    metadata["annotations"] = annotations
    if not annotations:
        del metadata["annotations"]
    return obj | {"metadata": metadata}


def _put_marker(obj: Object) -> None:
    metadata = dict(obj.get("metadata") or {})
    metadata["annotations"] = dict(metadata.get("annotations") or {}) | {PRESERVE_ZERO_ANNOTATION: ""}
    obj["metadata"] = metadata


FLOWCONTROL: Mapping[tuple[str, str, str], tuple[Convert, Convert]] = {
    (GROUP, version, plural): (partial(to_v1, version), partial(from_v1, version))
    for version in VERSIONS[1:]
    for plural in ("flowschemas", "prioritylevelconfigurations")
}
