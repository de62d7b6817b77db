"""What every object's metadata must look like, and what an update may not change in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubeglass.components.api import names
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import forbidden, invalid, required, too_long
from kubeglass.components.api.objects import ObjectMeta, OwnerReference

NameCheck = Callable[[str], list[str]]
MAX_ANNOTATION_BYTES = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def metadata(
    meta: ObjectMeta, namespaced: bool, name_check: NameCheck, path: str = "metadata", *, loose_finalizers: bool = False
) -> list[Cause]:
    """Causes against the metadata of a new object, or of the new state of one.

    `loose_finalizers` lets finalizers be without a domain, as custom resources and their definitions may.
    """
    causes: list[Cause] = []
    if meta.generate_name:
        prefix = meta.generate_name[:-1] + "a" if meta.generate_name.endswith("-") else meta.generate_name
        causes += [invalid(f"{path}.generateName", meta.generate_name, text) for text in name_check(prefix)]
    if not meta.name:
        causes.append(required(f"{path}.name", "name or generateName is required"))
    else:
        causes += [invalid(f"{path}.name", meta.name, text) for text in name_check(meta.name)]
    if namespaced and not meta.namespace:
        causes.append(required(f"{path}.namespace"))
    elif namespaced:
        causes += [invalid(f"{path}.namespace", meta.namespace, text) for text in names.dns1123_label(meta.namespace)]
    elif meta.namespace:
        causes.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    causes += label_map(meta.labels, f"{path}.labels")
    causes += annotation_map(meta.annotations, f"{path}.annotations")
    causes += _owners(meta.owner_references, f"{path}.ownerReferences")
    return causes + _finalizers(meta.finalizers, f"{path}.finalizers", loose_finalizers)


def metadata_update(new: ObjectMeta, old: ObjectMeta, path: str = "metadata") -> list[Cause]:
    """Causes against what an update changed in the metadata."""
    causes: list[Cause] = []
    for field in ("name", "namespace", "uid", "creation_timestamp"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            wire = "creationTimestamp" if field == "creation_timestamp" else field
            causes.append(invalid(f"{path}.{wire}", after, "field is immutable"))
    if old.deletion_timestamp:
        added = [finalizer for finalizer in new.finalizers if finalizer not in old.finalizers]
        if added:
            text = (
                f"no new finalizers can be added if the object is being deleted, found new finalizers {_go_list(added)}"
            )
            causes.append(forbidden(f"{path}.finalizers", text))
    return causes


def label_map(found: Mapping[str, str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in found.items():
        causes += [invalid(path, key, text) for text in names.qualified_name(key)]
        causes += [invalid(path, value, text) for text in names.label_value(value)]
    return causes


def annotation_map(found: Mapping[str, str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in found:
        causes += [invalid(path, key, text) for text in names.qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > MAX_ANNOTATION_BYTES:
        causes.append(too_long(path, MAX_ANNOTATION_BYTES))
    return causes


def _owners(owners: tuple[OwnerReference, ...], path: str) -> list[Cause]:
    causes: list[Cause] = []
    controller = ""
    for index, owner in enumerate(owners):
        at = f"{path}[{index}]"
        if not owner.api_version.rpartition("/")[2]:
            causes.append(invalid(f"{at}.apiVersion", owner.api_version, "version must not be empty"))
        for field, value in (("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)):
            if not value:
                causes.append(invalid(f"{at}.{field}", value, "must not be empty"))
        if owner.controller and controller:
            text = (
                'Only one reference can have Controller set to true. Found "true" in references for '
                f"{controller} and {owner.kind}/{owner.name}"
            )
            causes.append(invalid(path, None, text))
        elif owner.controller:
            controller = f"{owner.kind}/{owner.name}"
    return causes


def _finalizers(finalizers: tuple[str, ...], path: str, loose: bool) -> list[Cause]:
    causes: list[Cause] = []
    for finalizer in finalizers:
        complaints = names.qualified_name(finalizer)
        causes += [invalid(path, finalizer, text) for text in complaints]
        if not (loose or complaints) and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid(path, finalizer, text))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid(path, list(finalizers), text))
    return causes


def _go_list(values: list[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
