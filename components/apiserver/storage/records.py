"""Stored objects as the cache holds them: final JSON bytes with a small record around them. Pure.

A record keeps an object from its `metadata` on (`tail`), with the resourceVersion in it. In front of it belongs the
head of the version that is asked for: a GET is head + tail, a LIST joins tails, a watch event frames head + tail.
Nothing is encoded again. Labels and fields are decoded the first time a selector asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from kubeglass.components.api import fields
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.selectors import EVERYTHING, FieldSelector, Selector
from kubeglass.components.apiserver.storage.backend import Event, tail_with_resource_version

ALL_FIELDS = FieldSelector()
_VERSION_START = b'"metadata":{"resourceVersion":"'


class _Metadata(msgspec.Struct):
    labels: dict[str, str] = {}


class _Labelled(msgspec.Struct):
    metadata: _Metadata


_labelled = msgspec.json.Decoder(_Labelled)


@cache
def head(kind: Kind) -> bytes:
    """How an object of this version begins, up to its metadata."""
    return b'{"kind":"%b","apiVersion":"%b",' % (kind.kind.encode(), kind.api_version.encode())


class Record:
    """One object as of one revision."""

    __slots__ = ("_field_values", "_labels", "key", "name", "namespace", "revision", "tail")

    def __init__(self, key: str, prefix_length: int, tail: bytes, revision: int) -> None:
        self.key = key
        self.namespace, _, self.name = key[prefix_length:].rpartition("/")
        self.tail = tail
        self.revision = revision
        self._labels: Mapping[str, str] | None = None
        self._field_values: tuple[Kind, Mapping[str, str]] | None = None

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            self._labels = _labelled.decode(b"{" + self.tail).metadata.labels or {}
        return self._labels

    def field_values(self, kind: Kind, selectable: Mapping[str, str]) -> Mapping[str, str]:
        """The values of the fields that this kind can be selected by."""
        if self._field_values is None or self._field_values[0] is not kind:
            self._field_values = (kind, fields.field_values(kind, self.decode(), selectable))
        return self._field_values[1]

    def decode(self) -> dict[str, Any]:
        """The object without kind and apiVersion."""
        decoded: dict[str, Any] = msgspec.json.decode(b"{" + self.tail)
        return decoded

    def body(self, kind: Kind) -> bytes:
        """The object as `kind`'s version shows it."""
        return head(kind) + self.tail

    def moved_to(self, revision: int) -> Record:
        """The same object with another resourceVersion: how a deletion is shown."""
        end = self.tail.index(b'"', len(_VERSION_START))
        record = Record.__new__(Record)
        record.key, record.namespace, record.name = self.key, self.namespace, self.name
        record.tail = b"%b%d%b" % (_VERSION_START, revision, self.tail[end:])
        record.revision = revision
        record._labels, record._field_values = self._labels, self._field_values
        return record


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects of a kind a reader wants. Empty namespace or name: all."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    labels: Selector = EVERYTHING
    fields: FieldSelector = ALL_FIELDS
    selectable: Mapping[str, str] = field(default_factory=dict)
    """Extra selectable fields of a custom resource: label → path."""

    @property
    def selective(self) -> bool:
        """Whether selectors look into objects, so that the number of matches is not known beforehand."""
        return not (self.labels.empty and self.fields.empty)

    def matches(self, record: Record) -> bool:
        return (
            (not self.namespace or record.namespace == self.namespace)
            and (not self.name or record.name == self.name)
            and (self.labels.empty or self.labels.matches(record.labels))
            and (self.fields.empty or self.fields.matches(record.field_values(self.kind, self.selectable)))
        )


class Change:
    """One write as watchers see it. Frames are made once and shared by all watchers of one representation."""

    __slots__ = ("_frames", "after", "before", "revision", "time")

    def __init__(self, before: Record | None, after: Record | None, revision: int, time: float) -> None:
        self.before = before
        self.after = after
        self.revision = revision
        self.time = time
        self._frames: dict[tuple[str, object], bytes] = {}

    @classmethod
    def of(cls, event: Event, prefix_length: int, before: Record | None, time: float) -> Change:
        """The change that a storage event makes to the record before it."""
        if event.kind == "delete":
            return cls(before, None, event.revision, time)
        tail = tail_with_resource_version(event.value, event.revision)
        return cls(before, Record(event.key, prefix_length, tail, event.revision), event.revision, time)

    @property
    def key(self) -> str:
        record = self.after or self.before
        assert record is not None
        return record.key

    def seen_by(self, wanted: Filter) -> str:
        """ADDED, MODIFIED or DELETED from a filter's point of view, "" when it concerns it not at all."""
        before = self.before is not None and wanted.matches(self.before)
        after = self.after is not None and wanted.matches(self.after)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def frame(self, event_type: str, representation: object, render: Callable[[str, Record], bytes]) -> bytes:
        """The line a watcher gets; made once for each event type and representation."""
        key = (event_type, representation)
        line = self._frames.get(key)
        if line is None:
            line = self._frames[key] = render(event_type, self._shown(event_type))
        return line

    def _shown(self, event_type: str) -> Record:
        if event_type != "DELETED":
            assert self.after is not None
            return self.after
        assert self.before is not None
        return self.before.moved_to(self.revision)


def framed(event_type: str, body: bytes) -> bytes:
    """One line of a watch stream."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), body)
