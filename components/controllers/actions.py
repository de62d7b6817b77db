"""What a controller may decide to do, as values: a plan is a list of these, and tests read it like a transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.api.kinds import Kind
from kubeglass.components.machinery.client import PatchType, PropagationPolicy
from kubeglass.components.machinery.events import Described, EventType

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object. With `ignore_existing`, one that is there already is as good."""

    kind: Kind
    obj: Mapping[str, Any]
    ignore_existing: bool = False

    @property
    def name(self) -> str:
        meta = self.obj["metadata"]
        return str(meta.get("name") or meta.get("generateName", "") + "*")


@dataclass(frozen=True, slots=True)
class Patch:
    """Change an object. A patch that carries a resourceVersion fails when somebody wrote in between."""

    kind: Kind
    name: str
    namespace: str
    patch: Any
    subresource: str = ""
    patch_type: PatchType = "merge"
    ignore_missing: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, if it is still the one with that uid."""

    kind: Kind
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    propagation_policy: PropagationPolicy = ""
    grace_period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class CreatePods:
    """Create Pods for a controller, in batches of 1, 2, 4 …; the first failure ends it."""

    owner: Described
    pods: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Delete Pods of a controller, all at once."""

    owner: Described
    pods: tuple[tuple[str, str, str], ...]  # (namespace, name, uid)


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an Event."""

    regarding: Described
    type: EventType
    reason: str
    message: str


Action = Create | Patch | Delete | CreatePods | DeletePods | Emit


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again (None: on the next change)."""

    actions: tuple[Action, ...] = ()
    requeue_after_seconds: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


NOTHING = Plan()


def describe(action: Action) -> str:
    """One line for logs, spans and transcripts."""
    match action:
        case Create():
            return f"create {action.kind.singular} {action.name}"
        case Patch():
            target = f"{action.kind.singular}/{action.subresource}" if action.subresource else action.kind.singular
            return f"patch {target} {action.name}"
        case Delete():
            policy = f" ({action.propagation_policy})" if action.propagation_policy else ""
            return f"delete {action.kind.singular} {action.name}{policy}"
        case CreatePods():
            return f"create {len(action.pods)} pods for {action.owner.metadata.name}"
        case DeletePods():
            return f"delete pods {', '.join(name for _, name, _ in action.pods)}"
        case Emit():
            return f"event {action.type} {action.reason}: {action.message}"
