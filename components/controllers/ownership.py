"""Who controls what: owner references, and claiming Pods (adopt orphans that match, release members that do not)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import ObjectMeta, OwnerReference, Resource
from kubeglass.components.api.selectors import Selector
from kubeglass.components.controllers.actions import Action, Patch

R = TypeVar("R", bound=Resource)


def controller_of(meta: ObjectMeta) -> OwnerReference | None:
    """The owner that controls the object, if one does."""
    for reference in meta.owner_references:
        if reference.controller:
            return reference
    return None


def controlled_by(meta: ObjectMeta, uid: str) -> bool:
    """Whether the object's controller has that uid."""
    owner = controller_of(meta)
    return owner is not None and owner.uid == uid


def controller_uid(view: Resource) -> tuple[str, ...]:
    """The controller's uid as index values."""
    owner = controller_of(view.metadata)
    return (owner.uid,) if owner else ()


def owner_reference(kind: Kind, owner: Resource) -> dict[str, Any]:
    """What an object made for `owner` carries."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def claim(
    kind: Kind, owner: Resource, selector: Selector, member_kind: Kind, candidates: Iterable[R]
) -> tuple[list[R], list[Action]]:
    """(members that are the owner's now, the adoptions and releases that make the rest true)."""
    members: list[R] = []
    actions: list[Action] = []
    dying = bool(owner.metadata.deletion_timestamp)
    for candidate in candidates:
        meta = candidate.metadata
        controller = controller_of(meta)
        matches = selector.matches(meta.labels)
        if controller is not None:
            if controller.uid != owner.metadata.uid:
                continue
            if matches:
                members.append(candidate)
            elif not dying:
                actions.append(_release(member_kind, candidate, owner.metadata.uid))
        elif matches and not dying and not meta.deletion_timestamp:
            actions.append(_adopt(member_kind, candidate, owner_reference(kind, owner)))
    return members, actions


def _adopt(kind: Kind, member: Resource, reference: dict[str, Any]) -> Patch:
    meta = member.metadata
    patch = {"metadata": {"ownerReferences": [reference], "uid": meta.uid}}
    return Patch(kind, meta.name, meta.namespace, patch, patch_type="strategic", ignore_missing=True)


def _release(kind: Kind, member: Resource, owner_uid: str) -> Patch:
    meta = member.metadata
    patch = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner_uid}], "uid": meta.uid}}
    return Patch(kind, meta.name, meta.namespace, patch, patch_type="strategic", ignore_missing=True)
