"""A patch as a change of an object: which of the four languages, and what a refusal answers.

The store asks the change again when another writer was faster, so it is a function of the current object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeglass.components.api import errors, patch
from kubeglass.components.api.errors import ApiError, BadRequest, Invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.patch import PatchError
from kubeglass.components.api.patch.apply import Manager, apply
from kubeglass.components.api.schema.types import Struct
from kubeglass.components.apiserver.registry import receiving
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.registry.store import Change
from kubeglass.components.machinery import clock

Object = dict[str, Any]

_REJECTED = "the server rejected our request due to an error in our request"


def json_change(document: Any) -> Change:
    return _change(lambda current: patch.apply_json_patch(current, document))


def merge_change(document: Any) -> Change:
    return _change(lambda current: patch.apply_merge_patch(current, document))


def strategic_change(document: Any, struct: Struct) -> Change:
    return _change(lambda current: patch.apply_strategic_merge_patch(current, document, struct))


def apply_change(
    kind: Kind,
    struct: Struct,
    config: Any,
    name: str,
    context: WriteContext,
    *,
    force: bool,
    subresource: str = "",
    now: Callable[[], float] = clock.now,
) -> Change:
    """Server-side apply; also the change that creates (`current` None). Marks the context as applying."""
    if not isinstance(config, dict):
        raise BadRequest("error decoding patch: the applied configuration is not an object")
    receiving.check_kind(config, kind.api_version, kind.kind)
    if not config.get("kind") or not config.get("apiVersion"):
        raise BadRequest("invalid object type: apiVersion and kind must be set in an applied configuration")
    metadata = config.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    given = metadata.setdefault("name", name)
    if given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
    context.applying = True
    manager = Manager(context.field_manager, "Apply", kind.api_version, subresource)
    checked = receiving.conformed(config, kind, struct, context)
    context.field_validation = (
        "Ignore"  # what the configuration says has been checked; the merged object is the server's
    )

    def change(current: Object | None) -> Object:
        wanted = checked.get("metadata", {}).get("resourceVersion")
        if current is not None and wanted and wanted != current["metadata"]["resourceVersion"]:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise errors.conflict(kind.plural, kind.group, name, text)
        return apply(current, checked, struct, manager, force, clock.rfc3339(now()))

    return change


def refused(error: PatchError) -> ApiError:
    """The answer to a patch that cannot be applied."""
    if error.blame == "request":
        return BadRequest(str(error))
    if error.blame == "operation":
        return Invalid(_REJECTED)
    return ApiError(str(error), code=500, reason="")


def _change(patched: Callable[[Object], Any]) -> Change:
    def change(current: Object | None) -> Object:
        assert current is not None
        try:
            found = patched(current)
        except PatchError as error:
            raise refused(error) from error
        if not isinstance(found, dict):
            raise BadRequest("error decoding patch: the patched document is not an object")
        return found

    return change
