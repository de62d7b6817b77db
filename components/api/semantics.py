"""OpenTelemetry's `k8s.*` attributes for an object: what every span that concerns one carries. Pure.

The names are those of the semantic conventions (k8s.deployment.name, k8s.namespace.name …), formed alike for the kinds
that the conventions do not list.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubeglass.components.api.kinds import KINDS, Kind

_SINGULAR: Mapping[str, str] = {kind.plural: kind.singular for kind in KINDS}


def about(kind: Kind, namespace: str = "", name: str = "", uid: str = "") -> dict[str, str]:
    """The attributes of an object of a kind; what is empty is left out."""
    return _attributes(kind.singular, namespace, name, uid)


def about_resource(resource: str, namespace: str = "", name: str = "") -> dict[str, str]:
    """The same from a URL, which knows the plural only."""
    return _attributes(_SINGULAR.get(resource) or resource.removesuffix("s"), namespace, name, "")


def _attributes(singular: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    found = {}
    if namespace:
        found["k8s.namespace.name"] = namespace
    if name:
        found[f"k8s.{singular}.name"] = name
    if uid:
        found[f"k8s.{singular}.uid"] = uid
    return found
