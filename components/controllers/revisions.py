"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template, which `kubectl rollout` reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.kinds import CONTROLLER_REVISION, Kind
from kubeglass.components.api.objects import ControllerRevision, Resource
from kubeglass.components.controllers.actions import Action, Create, Delete, Patch
from kubeglass.components.controllers.arithmetic import template_hash
from kubeglass.components.controllers.ownership import owner_reference

HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of an owner and the one its template is now."""

    current_hash: str
    name: str
    actions: tuple[Action, ...]
    known: tuple[ControllerRevision, ...]


def history_of(
    kind: Kind, owner: Resource, template: Any, labels: dict[str, str], revisions: Sequence[ControllerRevision]
) -> History:
    """Find the revision of the template, or make one; it gets the highest number."""
    data = {"spec": {"template": {**template, "$patch": "replace"}}}
    ordered = tuple(sorted(revisions, key=lambda revision: revision.revision))
    highest = ordered[-1].revision if ordered else 0
    found = next((revision for revision in ordered if revision.data == data), None)
    meta = owner.metadata
    if found is None:
        value = template_hash(template)
        name = f"{meta.name}-{value}"
        body = {
            "apiVersion": CONTROLLER_REVISION.api_version,
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": meta.namespace,
                "labels": {**labels, HASH_LABEL: value},
                "ownerReferences": [owner_reference(kind, owner)],
            },
            "data": data,
            "revision": highest + 1,
        }
        return History(value, name, (Create(CONTROLLER_REVISION, body, ignore_existing=True),), ordered)
    value = found.metadata.labels.get(HASH_LABEL, "")
    if found.revision == highest:
        return History(value, found.metadata.name, (), ordered)
    renumber = Patch(CONTROLLER_REVISION, found.metadata.name, meta.namespace, {"revision": highest + 1})
    return History(value, found.metadata.name, (renumber,), ordered)


def surplus(history: History, in_use: set[str], limit: int) -> list[Action]:
    """The oldest revisions beyond the limit that no Pod uses; Pods name theirs by its hash or by its whole name."""
    unused = [
        revision
        for revision in history.known
        if revision.metadata.name != history.name
        and in_use.isdisjoint((revision.metadata.name, revision.metadata.labels.get(HASH_LABEL, "")))
    ]
    excess = max(0, len(unused) - limit)
    return [
        Delete(CONTROLLER_REVISION, each.metadata.name, each.metadata.namespace, each.metadata.uid)
        for each in unused[:excess]
    ]
