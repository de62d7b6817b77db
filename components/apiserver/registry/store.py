"""Every write: receive, default, admit, prepare, validate, admit again, and one atomic step in storage.

An update is a function from the current object to the wanted one; it is asked again when another writer was faster.
Deletion honours finalizers, grace periods, preconditions and propagation. A dry run does everything but the last
step. Upstream: k8s.io/apiserver/pkg/registry (generic store, rest.BeforeCreate/BeforeUpdate/BeforeDelete).
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from kubeglass.components.api import conversion, defaults, errors, validation
from kubeglass.components.api.errors import BadRequest, Cause
from kubeglass.components.api.kinds import LEASE, POD_DISRUPTION_BUDGET, Kind
from kubeglass.components.api.patch.apply import Manager, track
from kubeglass.components.api.semantics import about
from kubeglass.components.apiserver.admission.chain import Attributes, Chain, Operation
from kubeglass.components.apiserver.admission.reader import decoded, encoded
from kubeglass.components.apiserver.registry import deletion, receiving, rules, strategies
from kubeglass.components.apiserver.registry.allocation import Allocator
from kubeglass.components.apiserver.registry.context import DeleteOptions, WriteContext
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.registry.stamps import Stamps
from kubeglass.components.apiserver.storage.backend import (
    Backend,
    Entry,
    KeyExists,
    RevisionConflict,
    with_resource_version,
)
from kubeglass.components.machinery import clock
from kubeglass.telemetry.tracing.tracer import current_span

Object = dict[str, Any]
Change = Callable[[Object | None], Object]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NAME_LIMIT = 63 - 5
_GENERATED_NAME_TRIES = 8
_MUST_NAME_A_VERSION = frozenset({LEASE, POD_DISRUPTION_BUDGET})


class Store:
    """The only writer of objects."""

    def __init__(
        self,
        backend: Backend,
        served: ServedKinds,
        admission: Chain,
        allocator: Allocator,
        now: Callable[[], float] = clock.now,
        stamps: Stamps = Stamps(),
        updated: Callable[[Kind, Object, Object], None] = lambda kind, new, old: None,
    ) -> None:
        """`updated` hears of each update that changed something: (kind, new, old)."""
        self._backend = backend
        self._served = served
        self._admission = admission
        self._allocator = allocator
        self._now = now
        self._stamps = stamps
        self._updated = updated

    # -- create -----------------------------------------------------------------------------------------------------

    async def create(self, context: WriteContext, kind: Kind, namespace: str, obj: Object) -> bytes:
        """Store a new object; the answer is its final bytes. Raises Invalid, AlreadyExists, Forbidden, BadRequest."""
        obj = self._received(context, kind, obj)
        _place(kind, obj, namespace)
        if obj["metadata"].get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        tries = _GENERATED_NAME_TRIES if not obj["metadata"].get("name") else 1
        while True:
            tries -= 1
            try:
                return await self._create_once(context, kind, _copied(obj))
            except KeyExists as error:
                name = error.key.rpartition("/")[2]
                if tries <= 0:
                    raise errors.already_exists(kind.plural, kind.group, name) from error

    async def _create_once(self, context: WriteContext, kind: Kind, obj: Object) -> bytes:
        handed = self._stamps.taken(context, kind, obj, None)
        attributes = self._attributes(context, kind, "CREATE", obj, None)
        await self._admission.admit(attributes)
        obj = self._readmitted(kind, attributes.obj, obj)
        now = self._now()
        _begin_metadata(obj["metadata"], now)
        attributes.obj, attributes.name = obj, obj["metadata"].get("name", "")
        strategies.prepare_create(kind, obj, context.user, now)
        rules.after_create(kind, obj, context, now)
        self._stamps.stamp(context, kind, obj, None, handed)
        _tell(kind, obj)
        async with self._allocator.claim(kind, obj, None) as causes:
            self._refuse(kind, obj, [*causes, *validation.created(kind, obj), *rules.validate(self._served, kind, obj)])
            context.warnings.extend(rules.warnings(kind, obj))
            await self._admission.validate(attributes)
            key = kind.storage_key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            value = encoded(conversion.to_stored(kind, obj), kind)
            if context.dry_run:
                if await self._backend.get(key) is not None:
                    raise KeyExists(key)
                return _shown(kind, value, 0)
            revision = await self._backend.create(key, value, strategies.ttl_seconds(kind))
        return _shown(kind, value, revision)

    # -- update -----------------------------------------------------------------------------------------------------

    async def update(
        self,
        context: WriteContext,
        kind: Kind,
        namespace: str,
        name: str,
        change: Change,
        subresource: str = "",
        may_create: bool | None = None,
    ) -> tuple[bytes, bool]:
        """Apply `change` to the current object; (final bytes, whether it was created).

        Raises NotFound, Conflict, Invalid, Forbidden, BadRequest, and what `change` raises.
        """
        creates = strategies.may_create_by_update(kind) if may_create is None else may_create
        key = kind.storage_key(namespace, name)
        while True:
            entry = await self._backend.get(key)
            if entry is None:
                if not creates or subresource:
                    raise errors.not_found(kind.plural, kind.group, name)
                obj = change(None)
                obj.setdefault("metadata", {}).pop("resourceVersion", None)
                _named(kind, obj, name)
                return await self.create(context, kind, namespace, obj), True
            try:
                return await self._update_once(context, kind, name, entry, change, subresource), False
            except RevisionConflict:
                continue

    async def _update_once(
        self, context: WriteContext, kind: Kind, name: str, entry: Entry, change: Change, subresource: str
    ) -> bytes:
        old = conversion.from_stored(kind, decoded(entry))
        new = self._received(context, kind, change(_copied(old)), old)
        namespace = old["metadata"].get("namespace", "")
        _place(kind, new, namespace)
        _named(kind, new, name)
        self._check_preconditions(kind, new, old)
        now = self._now()
        _keep_metadata(new["metadata"], old["metadata"])
        handed = self._stamps.taken(context, kind, new, old)
        rules.restrict(kind, subresource, new, old, now)
        new = self._tracked(context, kind, new, old, subresource, now)
        attributes = self._attributes(context, kind, "UPDATE", new, old, subresource)
        await self._admission.admit(attributes)
        new = self._readmitted(kind, attributes.obj, new)
        if subresource != "status":
            self._stamps.stamp(context, kind, new, old, handed)
        attributes.obj = new
        async with self._allocator.claim(kind, new, old) as causes:
            if not subresource:
                found = [*validation.updated(kind, new, old), *rules.validate(self._served, kind, new)]
                self._refuse(kind, new, [*causes, *found])
                context.warnings.extend(rules.warnings(kind, new))
            else:
                self._refuse(kind, new, rules.validate_subresource(self._served, kind, subresource, new, old))
            await self._admission.validate(attributes)
            if deletion.finished(kind, new):
                if not context.dry_run:
                    await self._backend.delete(entry.key, entry.revision)
                return _shown(kind, encoded(conversion.to_stored(kind, new), kind), entry.revision)
            value = encoded(conversion.to_stored(kind, new), kind)
            if context.dry_run or value == entry.value:
                return _shown(kind, value, entry.revision)
            ttl = strategies.ttl_seconds(kind)
            revision = await self._backend.update(entry.key, value, entry.revision, ttl)
        self._updated(kind, new, old)
        return _shown(kind, value, revision)

    # -- delete -----------------------------------------------------------------------------------------------------

    async def delete(
        self, context: WriteContext, kind: Kind, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete, or begin to; (the object's last or new bytes, whether it is gone). Raises NotFound, Conflict."""
        key = kind.storage_key(namespace, name)
        while True:
            entry = await self._backend.get(key)
            if entry is None:
                raise errors.not_found(kind.plural, kind.group, name)
            try:
                return await self._delete_once(context, kind, name, entry, options)
            except RevisionConflict:
                continue

    async def _delete_once(
        self, context: WriteContext, kind: Kind, name: str, entry: Entry, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        old = decoded(entry)
        _check_delete_preconditions(kind, name, old["metadata"], options)
        attributes = self._attributes(context, kind, "DELETE", None, old)
        await self._admission.admit(attributes)
        await self._admission.validate(attributes)
        verdict = deletion.judge(kind, old, options, self._now())
        if verdict.remove:
            revision = entry.revision
            if not context.dry_run:
                revision = await self._backend.delete(entry.key, entry.revision)
            return _shown(kind, entry.value, revision), True
        if verdict.obj is None or context.dry_run:
            return _shown(kind, entry.value, entry.revision), False
        self._stamps.stamp(context, kind, verdict.obj, old)
        value = encoded(verdict.obj, kind)
        revision = await self._backend.update(entry.key, value, entry.revision)
        return _shown(kind, value, revision), False

    async def delete_collection(
        self,
        context: WriteContext,
        kind: Kind,
        namespace: str,
        names: Sequence[tuple[str, str]],
        options: DeleteOptions,
    ) -> list[bytes]:
        """Delete what the handler's list selected: (namespace, name) each. Those already gone are skipped."""
        deleted = []
        for at, name in names:
            try:
                body, _ = await self.delete(context, kind, at, name, options)
            except errors.NotFound:
                continue
            deleted.append(body)
        return deleted

    # -- parts ------------------------------------------------------------------------------------------------------

    def _received(self, context: WriteContext, kind: Kind, obj: Object, stored: Object | None = None) -> Object:
        kept = receiving.conformed(obj, kind, self._served.struct(kind), context, stored)
        kept.setdefault("metadata", {})
        self._defaulted(kind, kept)
        return kept

    def _defaulted(self, kind: Kind, obj: Object) -> None:
        defaults.apply(kind, obj)
        rules.default(self._served, kind, obj)

    def _tracked(
        self, context: WriteContext, kind: Kind, new: Object, old: Object, subresource: str, now: float
    ) -> Object:
        """The new object with its managedFields kept up; objects that were never applied have none."""
        if context.applying or not (old["metadata"].get("managedFields") or new["metadata"].get("managedFields")):
            return new
        manager = Manager(context.field_manager or "unknown", "Update", kind.api_version, subresource)
        return track(old, new, self._served.struct(kind), manager, clock.rfc3339(now))

    def _readmitted(self, kind: Kind, admitted: Object | None, obj: Object) -> Object:
        """What admission left behind, with defaults for what it added."""
        found = admitted if admitted is not None else obj
        self._defaulted(kind, found)
        return found

    def _attributes(
        self,
        context: WriteContext,
        kind: Kind,
        operation: Operation,
        obj: Object | None,
        old: Object | None,
        subresource: str = "",
    ) -> Attributes:
        metadata = (obj or old or {}).get("metadata") or {}
        return Attributes(
            operation,
            kind,
            metadata.get("namespace", "") if kind.namespaced else "",
            metadata.get("name", ""),
            obj,
            old,
            context.user,
            subresource,
            context.dry_run,
            warnings=context.warnings,
            annotations=context.annotations,
        )

    def _refuse(self, kind: Kind, obj: Object, causes: Sequence[Cause]) -> None:
        if causes:
            raise errors.invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), causes)

    def _check_preconditions(self, kind: Kind, new: Object, old: Object) -> None:
        name, current = old["metadata"]["name"], old["metadata"]["resourceVersion"]
        wanted = new["metadata"].get("resourceVersion") or ""
        if not wanted and (kind.custom or kind in _MUST_NAME_A_VERSION):
            text = "Invalid value: 0: must be specified for an update"
            cause = Cause("FieldValueInvalid", text, "metadata.resourceVersion")
            raise errors.invalid(kind.kind, kind.group, name, [cause])
        uid, have = new["metadata"].get("uid"), old["metadata"].get("uid", "")
        if uid and uid != have:
            text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
            raise errors.conflict(kind.plural, kind.group, name, text)
        if wanted and wanted != current:
            raise errors.conflict(kind.plural, kind.group, name, MODIFIED)


def _tell(kind: Kind, obj: Object) -> None:
    """The active span learns whom it creates: a generated name and the uid are known only now."""
    span, metadata = current_span(), obj["metadata"]
    if span.recording:
        span.update(about(kind, "", metadata["name"], metadata["uid"]))


def _shown(kind: Kind, value: bytes, revision: int) -> bytes:
    """Stored bytes as the client of this version gets them. Revision 0 is a dry run's: there is none."""
    body = with_resource_version(value, revision) if revision else value
    if not conversion.needed(kind):
        return body
    return msgspec.json.encode(conversion.from_stored(kind, msgspec.json.decode(body)))


def _copied(obj: Object) -> Object:
    """A copy that can be changed in place; through bytes, which is faster than walking it."""
    copied: Object = msgspec.json.decode(msgspec.json.encode(obj))
    return copied


def _place(kind: Kind, obj: Object, namespace: str) -> None:
    metadata = obj["metadata"]
    given = metadata.get("namespace") or ""
    if kind.namespaced:
        if given and namespace and given != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        if namespace:
            metadata["namespace"] = namespace
    elif not given:
        metadata.pop("namespace", None)


def _named(kind: Kind, obj: Object, name: str) -> None:
    given = obj["metadata"].get("name")
    if not given:
        obj["metadata"]["name"] = name
    elif given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")


def _begin_metadata(metadata: Object, now: float) -> None:
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
        metadata["name"] = metadata["generateName"][:_NAME_LIMIT] + suffix
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "resourceVersion"):
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = clock.rfc3339(now)


def _keep_metadata(new: Object, old: Mapping[str, Any]) -> None:
    """What only the server writes."""
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if name in old:
            new[name] = old[name]
        else:
            new.pop(name, None)
    new.pop("selfLink", None)
    if "generateName" in old:
        new.setdefault("generateName", old["generateName"])


def _check_delete_preconditions(kind: Kind, name: str, metadata: Mapping[str, Any], options: DeleteOptions) -> None:
    for label, wanted, have in (
        ("UID", options.uid, metadata.get("uid", "")),
        ("ResourceVersion", options.resource_version, metadata["resourceVersion"]),
    ):
        if wanted and wanted != have:
            text = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}"
            raise errors.conflict(kind.plural, kind.group, name, text)
