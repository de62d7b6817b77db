"""Where the store asks for a rule of one kind or one subresource; the rules themselves live with what they are about.

A subresource restricts what an update may change: everything it does not own is put back to what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api import kinds, validation
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.registry import certificates, crd, strategies
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.registry.served import ServedKinds

Object = dict[str, Any]

TRUSTED = "(server)"
"""The subresource of updates that the server itself makes: nothing is put back, nothing validated."""


def default(served: ServedKinds, kind: Kind, obj: Object) -> None:
    """Defaults that a custom resource definition states."""
    custom = served.custom(kind)
    if custom is not None:
        crd.apply_defaults(custom, obj)


def after_create(kind: Kind, obj: Object, context: WriteContext, now: float) -> None:
    """What only some kinds do once their metadata is complete."""
    if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
        crd.accept(obj, now)


def validate(served: ServedKinds, kind: Kind, obj: Object) -> list[Cause]:
    """Causes that come from definitions: a custom object against its schema, a definition against itself."""
    if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
        return crd.validate_definition(obj)
    custom = served.custom(kind)
    return crd.validate(custom, obj) if custom is not None else []


def warnings(kind: Kind, obj: Object) -> list[str]:
    """What the author of a valid object should know."""
    return crd.warnings(obj) if kind == kinds.CUSTOM_RESOURCE_DEFINITION else []


def validate_subresource(served: ServedKinds, kind: Kind, subresource: str, new: Object, old: Object) -> list[Cause]:
    custom = served.custom(kind)
    if custom is None:
        return validation.subresource_updated(kind, subresource, new, old)
    return crd.validate(custom, new) if subresource == "status" else []


def restrict(kind: Kind, subresource: str, new: Object, old: Object, now: float) -> None:
    """Put back what this subresource may not change."""
    if subresource == TRUSTED:
        return
    if subresource == "":
        strategies.prepare_update(kind, new, old)
        if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
            crd.accept(new, now)
        return
    if kind == kinds.CERTIFICATE_SIGNING_REQUEST:
        certificates.date_conditions(new, old, now)
    if subresource == "status":
        strategies.prepare_status(kind, new, old)
        return
    keep = _OWNED.get((kind.plural, subresource))
    if keep is None:
        return
    wanted = {path: _reach(new, path) for path in keep}
    _replace(new, old)
    for path, value in wanted.items():
        _put(new, path, value)
    if kind == kinds.POD and "generation" in old["metadata"] and new["spec"] != old["spec"]:
        new["metadata"] = {**new["metadata"], "generation": old["metadata"]["generation"] + 1}


_OWNED: Mapping[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("pods", "ephemeralcontainers"): (("spec", "ephemeralContainers"),),
    ("pods", "resize"): (("spec", "containers"), ("spec", "initContainers")),
    ("namespaces", "finalize"): (("spec", "finalizers"),),
    ("certificatesigningrequests", "approval"): (("status", "conditions"),),
}


def _reach(obj: Object, path: tuple[str, ...]) -> Any:
    found: Any = obj
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _put(obj: Object, path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for name in parents:
        obj[name] = dict(obj.get(name) or {})
        obj = obj[name]
    if value is None:
        obj.pop(last, None)
    else:
        obj[last] = value


def _replace(new: Object, old: Object) -> None:
    version = new["metadata"].get("resourceVersion", "")
    new.clear()
    new.update(old)
    new["metadata"] = {**old["metadata"], "resourceVersion": version}
