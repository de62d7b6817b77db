"""What a write knows about the request that asked for it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Literal

from kubeglass.components.api.user import UserInfo
from kubeglass.telemetry.tracing.context import SpanContext

FieldValidation = Literal["Ignore", "Warn", "Strict"]


@dataclass(slots=True)
class WriteContext:
    """One request's identity and options. `warnings` and `annotations` collect what the answer and audit should say."""

    user: UserInfo
    dry_run: bool = False
    field_manager: str = ""
    applying: bool = False
    """Whether the change is a server-side apply, which keeps its own account of managedFields."""
    field_validation: FieldValidation = "Warn"
    warnings: list[str] = field(default_factory=list)
    annotations: MutableMapping[str, str] = field(default_factory=dict)
    trace: SpanContext | None = None
    """The request's span: what the written object is stamped with."""
    trusted: bool = False
    """Whether a stamp that the writer hands on itself is believed."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How a deletion was asked for (meta/v1 DeleteOptions)."""

    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    uid: str = ""
    resource_version: str = ""
    orphan_dependents: bool | None = None
