"""What an OTLP server answered, and what that asks of the client. Pure.

https://opentelemetry.io/docs/specs/otlp/: which codes may be retried, partial success, and the throttling hint
google.rpc.RetryInfo, which real gRPC servers send inside the trailer `grpc-status-details-bin`.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from kubeglass.telemetry.tracing.wire import fields

RETRYABLE_GRPC = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
RETRYABLE_HTTP = frozenset({429, 502, 503, 504})
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class Verdict(Enum):
    """What to do with the batch."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"


class Outcome(msgspec.Struct, frozen=True):
    """One answer. `rejected` spans of an accepted batch are lost; a retry waits at least `delay_seconds`."""

    verdict: Verdict
    code: str
    message: str = ""
    rejected: int = 0
    delay_seconds: float = 0.0


def accepted(code: str, body: bytes) -> Outcome:
    """An OK answer: an ExportTraceServiceResponse, perhaps with a partial success."""
    try:
        partial = _last(body, 1)
        rejected, message = _last(partial, 1) if partial else 0, _last(partial, 2) if partial else b""
    except (ValueError, TypeError):
        return Outcome(Verdict.ACCEPTED, code, "the answer is not an ExportTraceServiceResponse")
    return Outcome(Verdict.ACCEPTED, code, _text(message), rejected if isinstance(rejected, int) else 0)


def grpc_failure(code: str, message: str, details: bytes | None) -> Outcome:
    """A failed call; `code` is the status name, `details` the `grpc-status-details-bin` trailer."""
    delay = retry_delay(details) if details else None
    if code in RETRYABLE_GRPC or (code == "RESOURCE_EXHAUSTED" and delay is not None):
        return Outcome(Verdict.RETRY, code, message, delay_seconds=delay or 0.0)
    return Outcome(Verdict.REFUSED, code, message)


def http_answer(status: int, body: bytes, retry_after: str) -> Outcome:
    """An HTTP answer; an error's body is a google.rpc.Status."""
    if 200 <= status < 300:
        return accepted(str(status), body)
    message = _status_message(body)
    if status in RETRYABLE_HTTP:
        delay = float(retry_after) if retry_after.isdecimal() else 0.0
        return Outcome(Verdict.RETRY, str(status), message, delay_seconds=delay)
    return Outcome(Verdict.REFUSED, str(status), message)


def retry_delay(status: bytes) -> float | None:
    """Seconds the RetryInfo inside a serialized google.rpc.Status asks for; None without one."""
    try:
        for number, detail in fields(status):
            if number == 3 and isinstance(detail, bytes) and _text(_last(detail, 1)) == _RETRY_INFO:
                info = _last(detail, 2) or b""
                duration = _last(info, 1) or b""
                seconds, nanos = _last(duration, 1), _last(duration, 2)
                return _number(seconds) + _number(nanos) / 1e9
    except (ValueError, TypeError):
        return None
    return None


def _last(message: int | bytes | None, number: int) -> int | bytes | None:
    """The value of one field; the last one counts, as in protobuf."""
    if not isinstance(message, bytes):
        return None
    found: int | bytes | None = None
    for this, value in fields(message):
        if this == number:
            found = value
    return found


def _number(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0


def _text(value: int | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _status_message(body: bytes) -> str:
    try:
        return _text(_last(body, 2))
    except ValueError:
        return body[:200].decode("utf-8", "replace")
