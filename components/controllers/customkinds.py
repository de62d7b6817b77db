"""The custom resources that are served now, as Kind rows, read from their definitions."""

from __future__ import annotations

from kubeglass.components.api.kinds import CUSTOM_RESOURCE_DEFINITION, STORED_VERBS, Kind
from kubeglass.components.api.objects import CustomResourceDefinition
from kubeglass.components.controllers.context import Informers


class CustomKinds:
    """Follows the definitions."""

    def __init__(self, informers: Informers) -> None:
        self._definitions = informers.of(CUSTOM_RESOURCE_DEFINITION, CustomResourceDefinition)

    def kinds(self) -> list[Kind]:
        """One row per established definition, in its first served version."""
        return [kind for definition in self._definitions.list() if (kind := kind_of(definition)) is not None]


def kind_of(definition: CustomResourceDefinition) -> Kind | None:
    """The row of a definition; None while it is not served."""
    established = any(found.type == "Established" and found.status == "True" for found in definition.status.conditions)
    version = next((found.name for found in definition.spec.versions if found.served), "")
    if not established or not version:
        return None
    spec = definition.spec
    return Kind(
        spec.group,
        version,
        spec.names.kind,
        spec.names.plural,
        spec.names.singular or spec.names.kind.lower(),
        namespaced=spec.scope == "Namespaced",
        verbs=STORED_VERBS,
        custom=True,
    )
