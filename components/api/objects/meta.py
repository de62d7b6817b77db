"""Read-only views: metadata, selectors and conditions: what every kind shares (meta/v1)."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.objects.struct import Object


class ManagedFieldsEntry(Object):
    api_version: str = ""
    fields_type: str = ""
    fields_v1: dict[str, Any] = {}
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    time: str = ""


class OwnerReference(Object):
    api_version: str = ""
    block_owner_deletion: bool | None = None
    controller: bool | None = None
    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(Object):
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    deletion_timestamp: str = ""
    finalizers: tuple[str, ...] = ()
    generate_name: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    managed_fields: tuple[ManagedFieldsEntry, ...] = ()
    name: str = ""
    namespace: str = ""
    owner_references: tuple[OwnerReference, ...] = ()
    resource_version: str = ""
    self_link: str = ""
    uid: str = ""


class LabelSelectorRequirement(Object):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Object):
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
    match_labels: dict[str, str] = {}


class Condition(Object):
    last_transition_time: str = ""
    message: str = ""
    observed_generation: int = 0
    reason: str = ""
    status: str = ""
    type: str = ""


class Preconditions(Object):
    resource_version: str = ""
    uid: str = ""


class DeleteOptions(Object):
    api_version: str = ""
    dry_run: tuple[str, ...] = ()
    grace_period_seconds: int | None = None
    ignore_store_read_error_with_cluster_breaking_potential: bool = False
    kind: str = ""
    orphan_dependents: bool = False
    preconditions: Preconditions | None = None
    propagation_policy: str = ""


class Resource(Object):
    """What every stored object begins with. `kind` and `api_version` are empty in items of some lists."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> str:
        """`namespace/name`, or `name` for a cluster-scoped object."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
