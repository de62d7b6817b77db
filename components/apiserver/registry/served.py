"""Which kinds this server serves now: the built-in rows, and those that custom resource definitions add.

The one mutable table of kinds; routes, discovery and the store look kinds up here. crd.py changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubeglass.components.api.kinds import KINDS, OLDER_KINDS, Kind, KindTable
from kubeglass.components.api.schema import types
from kubeglass.components.api.schema.types import Struct
from kubeglass.components.api.table import Column
from kubeglass.components.apiserver.registry.runtimeconfig import served_kinds


@dataclass(frozen=True, slots=True)
class CustomKind:
    """A kind from a definition, with what the definition says besides its names."""

    kind: Kind
    struct: Struct
    columns: tuple[Column, ...] = ()
    selectable: Mapping[str, str] = field(default_factory=dict)
    openapi: Mapping[str, object] = field(default_factory=dict)
    scale: Mapping[str, str] = field(default_factory=dict)
    """specReplicasPath, statusReplicasPath, labelSelectorPath of the scale subresource."""


class ServedKinds:
    """Look-up of everything a URL or an object may name."""

    def __init__(self, runtime_config: Sequence[str] = ()) -> None:
        """Raises ConfigError."""
        self._builtin = KindTable(served_kinds((*KINDS, *OLDER_KINDS), runtime_config))
        self._custom: dict[Kind, CustomKind] = {}
        self.table = self._builtin
        self._changed: list[Callable[[], None]] = []

    @property
    def builtin(self) -> tuple[Kind, ...]:
        """The built-in rows that are served."""
        return self._builtin.rows

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever custom kinds come or go."""
        self._changed.append(listener)

    def set_custom(self, kinds: Iterable[CustomKind]) -> None:
        """Replace all custom kinds."""
        self._custom = {custom.kind: custom for custom in kinds}
        self.table = self._builtin.with_kinds(self._custom)
        for listener in self._changed:
            listener()

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self.table.find(group, version, plural)

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        return self.table.by_kind(api_version, kind)

    def custom(self, kind: Kind) -> CustomKind | None:
        return self._custom.get(kind)

    @property
    def customs(self) -> tuple[CustomKind, ...]:
        return tuple(self._custom.values())

    def struct(self, kind: Kind) -> Struct:
        """The type of a kind's objects."""
        custom = self._custom.get(kind)
        if custom is not None:
            return custom.struct
        struct = types.builtin().for_kind(kind.api_version, kind.kind)
        if struct is None:
            raise LookupError(f"no schema for {kind.api_version} {kind.kind}")
        return struct

    def selectable(self, kind: Kind) -> Mapping[str, str]:
        """Extra fields that objects of a custom kind can be selected by: label → path."""
        custom = self._custom.get(kind)
        return custom.selectable if custom is not None else {}
