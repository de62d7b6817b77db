"""Distributed tracing: spans, W3C context, OTLP export, and causality across watches. See docs/tracing.md.

Components import the modules; the two names below are the front door for operators (operators.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubeglass.telemetry.tracing.operators import reconcile_span, stamped

__all__ = ["reconcile_span", "stamped"]


def __getattr__(name: str) -> Any:
    """Load operators.py only for those who ask: it needs metrics, which need this package's context module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kubeglass.telemetry.tracing import operators

    return getattr(operators, name)
