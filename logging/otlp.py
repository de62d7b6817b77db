"""Log records as OTLP: encoded by hand, batched, in a bounded queue. No network here: a `send` function is injected.

Record → LogRecord follows the OpenTelemetry log data model; what a record says is sanitized
before it is queued. Overflow policy: the new record is dropped and counted.
"""

from __future__ import annotations

import struct
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kubeglass.logging import gojson
from kubeglass.logging.goduration import duration_text
from kubeglass.logging.record import Record
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.values import Duration, KRef, error_text, key_text, time_rfc3339

MAX_QUEUE = 2048
MAX_BATCH = 512

_INFO, _DEBUG, _TRACE = (9, "INFO"), (5, "DEBUG"), (1, "TRACE")
_SEVERE = {"W": (13, "WARN"), "E": (17, "ERROR"), "F": (21, "FATAL")}
_INT64 = range(-(2**63), 2**63)

Send = Callable[[bytes], None]
"""Takes an encoded ExportLogsServiceRequest. Whatever it raises costs that batch, which is counted."""


class LogExporter:
    """A listener of a Sink: collects records, hands them on in batches when `export` is called by its owner."""

    def __init__(
        self,
        resource: Mapping[str, Any],
        send: Send,
        sanitizer: Sanitizer,
        *,
        max_queue: int = MAX_QUEUE,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._resource = _message(1, b"".join(_attribute(1, key, value) for key, value in resource.items()))
        self._send = send
        self._sanitizer = sanitizer
        self._max_batch = max_batch
        self._queue: deque[tuple[str, bytes]] = deque()
        self._max_queue = max_queue
        self.dropped = 0
        """Records that were lost: the queue was full, or their batch could not be sent."""
        self.exported = 0

    def __call__(self, record: Record) -> None:
        """Queue a record. Never raises."""
        if len(self._queue) >= self._max_queue:
            self.dropped += 1
            return
        try:
            self._queue.append((record.context.name, encode_record(record, self._sanitizer)))
        except Exception:
            self.dropped += 1

    @property
    def waiting(self) -> int:
        """How many records are queued."""
        return len(self._queue)

    def export(self) -> None:
        """Send everything that is queued, batch by batch. Never raises."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            try:
                self._send(self._request(batch))
                self.exported += len(batch)
            except Exception:
                self.dropped += len(batch)

    def _request(self, batch: Iterable[tuple[str, bytes]]) -> bytes:
        scopes: dict[str, list[bytes]] = {}
        for name, record in batch:
            scopes.setdefault(name, []).append(record)
        groups = b"".join(_message(2, _scope(name) + b"".join(records)) for name, records in scopes.items())
        return _message(1, self._resource + groups)


def encode_record(record: Record, sanitizer: Sanitizer) -> bytes:
    """One record as a `log_records` field of ScopeLogs, its secrets replaced."""
    number, text = severity(record)
    parts = [
        _fixed64(1, record.time_ns),
        _varint_field(2, number),
        _message(3, text.encode()),
        _message(5, _any_value(sanitizer.text(record.message))),
        *_attributes(record, sanitizer),
    ]
    if record.trace_ids is not None:
        trace_id, span_id = record.trace_ids
        parts += (_message(9, bytes.fromhex(trace_id)), _message(10, bytes.fromhex(span_id)))
    parts.append(_fixed64(11, record.time_ns))
    return _message(2, b"".join(parts))


def severity(record: Record) -> tuple[int, str]:
    """The OpenTelemetry severity: klog's letter, and for information how verbose it is."""
    severe = _SEVERE.get(record.severity)
    if severe is not None:
        return severe
    if record.level >= 6:
        return _TRACE
    return _DEBUG if record.level >= 4 else _INFO


def _attributes(record: Record, sanitizer: Sanitizer) -> Iterable[bytes]:
    values = {key_text(key): value for key, value in (*record.context.pairs, *record.pairs)}
    for key, value in values.items():
        yield _attribute(6, key, sanitizer.pair(key, _settled(value, sanitizer)))
    path, line = record.caller
    yield _attribute(6, "code.file.path", path)
    yield _attribute(6, "code.line.number", line)
    if record.error is not None:
        yield from _exception(record.error, sanitizer)


def _exception(error: BaseException, sanitizer: Sanitizer) -> Iterable[bytes]:
    yield _attribute(6, "exception.type", type(error).__qualname__)
    try:
        said = error_text(error)
        trace = "".join(traceback.format_exception(error)) if error.__traceback__ else ""
    except Exception:
        said, trace = "<panic while printing the exception>", ""
    yield _attribute(6, "exception.message", sanitizer.text(said))
    if trace:
        yield _attribute(6, "exception.stacktrace", sanitizer.text(trace))


def _settled(value: Any, sanitizer: Sanitizer) -> Any:
    """A value as something OTLP can hold, its secrets replaced."""
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, timedelta):
        return duration_text(Duration.of(value))
    if isinstance(value, datetime):
        return time_rfc3339(value)
    if isinstance(value, KRef):
        return str(value)
    if isinstance(value, bytes):
        return sanitizer.value(value)
    try:
        return sanitizer.tree(gojson.plain(value))
    except Exception as error:
        return f"<internal error: {type(error).__name__}>"


def _scope(name: str) -> bytes:
    return _message(1, _message(1, name.encode("utf-8", "replace"))) if name else b""


def _attribute(field: int, key: str, value: Any) -> bytes:
    return _message(field, _message(1, key.encode("utf-8", "replace")) + _message(2, _any_value(value)))


def _any_value(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bool):
        return _varint_field(2, int(value))
    if isinstance(value, int) and value in _INT64:
        return _varint_field(3, value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return struct.pack("<Bd", 4 << 3 | 1, value)
    if isinstance(value, bytes):
        return _message(7, value)
    if isinstance(value, list | tuple):
        return _message(5, b"".join(_message(1, _any_value(item)) for item in value))
    if isinstance(value, Mapping):
        return _message(6, b"".join(_attribute(1, str(key), item) for key, item in value.items()))
    return _message(1, str(value).encode("utf-8", "replace"))


def _message(field: int, data: bytes) -> bytes:
    return b"%b%b%b" % (_varint(field << 3 | 2), _varint(len(data)), data)


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed64(field: int, value: int) -> bytes:
    return struct.pack("<BQ", field << 3 | 1, value)


def _varint(value: int) -> bytes:
    if value < 0x80:
        return value.to_bytes(1, "little")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
