"""What happens behind a deletion that the store itself cannot finish: the objects of a deleted definition go first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.inprocess import LOOPBACK
from kubeglass.components.apiserver.registry import crd
from kubeglass.components.apiserver.registry.context import DeleteOptions, WriteContext
from kubeglass.components.apiserver.registry.definitions import Definitions
from kubeglass.components.apiserver.registry.store import Store

Object = dict[str, Any]


async def clean_definition(
    store: Store, definitions: Definitions, forget: Callable[[Kind], None], definition: Object
) -> bool:
    """Delete what the definition made; when nothing is left, let the definition go. The answer: whether it is done."""
    context = WriteContext(user=LOOPBACK)
    for kind, namespace, name in await definitions.instances(definition):
        try:
            await store.delete(context, kind, namespace, name, DeleteOptions())
        except errors.NotFound:
            continue
    if await definitions.instances(definition):
        return False

    def released(current: Object | None) -> Object:
        assert current is not None
        kept = [name for name in current["metadata"].get("finalizers") or () if name != crd.CLEANUP_FINALIZER]
        current["metadata"]["finalizers"] = kept
        return current

    try:
        name = definition["metadata"]["name"]
        await store.update(context, kinds.CUSTOM_RESOURCE_DEFINITION, "", name, released)
    except (errors.NotFound, errors.Conflict):
        return False
    await definitions.refresh()
    for custom in crd.custom_kinds([definition]):
        forget(custom.kind)
    return True
