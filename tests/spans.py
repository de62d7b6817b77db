"""What a traced component leaves, for tests to look at."""

from __future__ import annotations

from kubeglass.telemetry.tracing.tracer import RecordedSpan


class Kept:
    """A sink that keeps."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)

    def named(self, name: str) -> list[RecordedSpan]:
        return [span for span in self.spans if span.name == name]
