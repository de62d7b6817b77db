"""The Forbidden that an admission plugin raises."""

from __future__ import annotations

from kubeglass.components.api import errors
from kubeglass.components.api.errors import Cause, Forbidden
from kubeglass.components.apiserver.admission.chain import Attributes


def forbidden(attributes: Attributes, why: str, *causes: Cause) -> Forbidden:
    """`pods "web" is forbidden: <why>`."""
    metadata = (attributes.obj or attributes.old or {}).get("metadata") or {}
    name = attributes.name or metadata.get("name") or metadata.get("generateName") or "Unknown"
    error = errors.forbidden(attributes.kind.plural, attributes.kind.group, name, why)
    error.causes = tuple(causes)
    return error
