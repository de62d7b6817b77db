"""The graph of who owns whom, and what follows from it for an object. Pure.

An edge goes from a dependent to each of its owners, by uid. An owner that nobody has ever seen is kept as a stub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import ObjectMeta, OwnerReference
from kubeglass.components.machinery.client import PropagationPolicy

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(slots=True, eq=False)
class Node:
    """One object in the graph."""

    uid: str
    kind: Kind | None = None
    namespace: str = ""
    name: str = ""
    owners: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    dependents: set[str] = field(default_factory=set)

    @property
    def seen(self) -> bool:
        """Whether an informer has shown it, or only others speak of it."""
        return self.kind is not None

    @property
    def waits_for_dependents(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers


class OwnerGraph:
    """All objects with their owners and dependents."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def dependents(self, node: Node) -> Iterator[Node]:
        """The objects that name `node` as an owner."""
        return iter([self._nodes[uid] for uid in node.dependents if uid in self._nodes])

    def put(self, kind: Kind, meta: ObjectMeta) -> tuple[Node, Node]:
        """An object as it is now; the answer is (it, as it was before)."""
        node = self._nodes.setdefault(meta.uid, Node(meta.uid))
        before = Node(node.uid, node.kind, node.namespace, node.name, node.owners, node.finalizers, node.deleting)
        self._relink(node, meta.owner_references)
        node.kind, node.namespace, node.name = kind, meta.namespace, meta.name
        node.finalizers, node.deleting = meta.finalizers, bool(meta.deletion_timestamp)
        return node, before

    def drop(self, uid: str) -> list[Node]:
        """An object is gone; the answer is its dependents."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return []
        self._relink(node, ())
        dependents = list(self.dependents(node))
        if dependents:
            # Their references still name it: a stub keeps the edges until they are gone too.
            self._nodes[uid] = Node(uid, dependents=set(node.dependents))
        return dependents

    def _relink(self, node: Node, owners: tuple[OwnerReference, ...]) -> None:
        for reference in node.owners:
            owner = self._nodes.get(reference.uid)
            if owner is not None:
                owner.dependents.discard(node.uid)
                if not owner.seen and not owner.dependents:
                    del self._nodes[owner.uid]
        for reference in owners:
            self._nodes.setdefault(reference.uid, Node(reference.uid)).dependents.add(node.uid)
        node.owners = owners


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the owners of an object mean for it."""

    solid: tuple[OwnerReference, ...]
    dangling: tuple[OwnerReference, ...]  # the owner is gone
    waiting: tuple[OwnerReference, ...]  # the owner is being deleted and waits for this object

    @property
    def keep(self) -> bool:
        return bool(self.solid) or not (self.dangling or self.waiting)

    @property
    def stale(self) -> tuple[OwnerReference, ...]:
        return (*self.dangling, *self.waiting)


def judge(owners: Iterable[tuple[OwnerReference, bool, bool]]) -> Verdict:
    """`owners` are (reference, exists, is being deleted in the foreground)."""
    solid, dangling, waiting = [], [], []
    for reference, exists, foreground in owners:
        if not exists:
            dangling.append(reference)
        elif foreground and reference.block_owner_deletion:
            waiting.append(reference)
        else:
            solid.append(reference)
    return Verdict(tuple(solid), tuple(dangling), tuple(waiting))


def deletion_policy(verdict: Verdict, finalizers: Iterable[str], has_dependents: bool) -> PropagationPolicy:
    """How an object without solid owners is deleted."""
    if verdict.waiting and has_dependents:
        return "Foreground"
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"
