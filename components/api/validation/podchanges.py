"""What may change in a Pod once it exists: images, tolerations (more of them), the deadline (shorter), labels."""

from __future__ import annotations

from typing import Any

import msgspec

from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import forbidden, invalid
from kubeglass.components.api.objects import Container, Pod, PodSpec, Toleration
from kubeglass.components.api.objects.struct import encode

_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


def pod_update(new: Pod, old: Pod) -> list[Cause]:
    """Causes against what an update of the Pod itself (not of a subresource) changed."""
    causes: list[Cause] = []
    before, after = old.spec, new.spec
    if len(before.containers) != len(after.containers):
        return [forbidden("spec.containers", "pod updates may not add or remove containers")]
    if len(before.init_containers) != len(after.init_containers):
        return [forbidden("spec.initContainers", "pod updates may not add or remove containers")]
    causes += _deadline(after, before)
    if any(
        toleration not in after.tolerations for toleration in before.tolerations if not _shortened(toleration, after)
    ):
        text = "existing toleration can not be modified except its tolerationSeconds"
        causes.append(forbidden("spec.tolerations", text))
    if causes:
        return causes
    allowed = msgspec.structs.replace(
        after,
        containers=_with_images(after.containers, before.containers),
        init_containers=_with_images(after.init_containers, before.init_containers),
        active_deadline_seconds=before.active_deadline_seconds,
        tolerations=before.tolerations,
        scheduling_gates=before.scheduling_gates
        if len(after.scheduling_gates) < len(before.scheduling_gates)
        else after.scheduling_gates,
        node_selector=before.node_selector if before.scheduling_gates else after.node_selector,
    )
    if allowed == before:
        return []
    return [forbidden("spec", _TEXT + _difference(encode(before), encode(allowed)))]


def _deadline(after: PodSpec, before: PodSpec) -> list[Cause]:
    at = "spec.activeDeadlineSeconds"
    new, old = after.active_deadline_seconds, before.active_deadline_seconds
    if old is not None and new is None:
        return [invalid(at, new, "must not update from a positive integer to nil value")]
    if old is not None and new is not None and new > old:
        return [invalid(at, new, "must be less than or equal to previous value")]
    return []


def _shortened(toleration: Toleration, after: PodSpec) -> bool:
    return any(
        msgspec.structs.replace(other, toleration_seconds=None)
        == msgspec.structs.replace(toleration, toleration_seconds=None)
        for other in after.tolerations
    )


def _with_images(new: tuple[Container, ...], old: tuple[Container, ...]) -> tuple[Container, ...]:
    return tuple(msgspec.structs.replace(after, image=before.image) for after, before in zip(new, old, strict=True))


def _difference(old: Any, new: Any, path: str = "") -> str:
    """The members that differ, one per line."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = [
            _difference(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        return "\n".join(lines)
    show = msgspec.json.encode
    return f"- {path}: {show(old).decode()}\n+ {path}: {show(new).decode()}"
