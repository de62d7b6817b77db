"""Distributed tracing: spans, W3C context, OTLP export, and causality across watches. See docs/tracing.md."""
