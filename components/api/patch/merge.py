"""JSON merge patch (RFC 7386): null removes, objects merge, everything else replaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api.patch.errors import PatchError


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """The merged document. Raises PatchError unless the patch is an object."""
    if not isinstance(patch, Mapping):
        raise PatchError("invalid JSON Patch")
    return _merge(document, patch)


def _merge(document: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
