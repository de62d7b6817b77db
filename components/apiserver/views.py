"""Records → bytes in the form a client asked for: the object, its metadata alone, or a row of a table.

The plain form splices stored bytes; the others decode. A view is chosen once per request, and its `key` lets watchers
of the same form share one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Media
from kubeglass.components.apiserver.storage.records import Record, framed, head
from kubeglass.components.apiserver.storage.watchcache import Listing

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Long work that yields wherever something else may run, and returns its result."""
Convert = Callable[[Kind, dict[str, Any]], dict[str, Any]]
"""(kind, object as stored) → object in the version of kind."""
_RENDERED_PER_STEP = 10
_SPLICED_PER_STEP = 100


class Tables(Protocol):
    """How kinds look in `kubectl get`."""

    def columns(self, kind: Kind) -> Sequence[Mapping[str, Any]]:
        """The TableColumnDefinitions."""

    def cells(self, kind: Kind, obj: Mapping[str, Any]) -> Sequence[Any]:
        """One value per column."""

    def conditions(self, kind: Kind, obj: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """What is said about the row itself."""


class _Raw(msgspec.Struct):
    metadata: msgspec.Raw


_raw = msgspec.json.Decoder(_Raw)


class View(Protocol):
    """One form of an answer."""

    @property
    def key(self) -> object:
        """Equal for views that render alike."""

    def one(self, record: Record) -> bytes:
        """The answer to a GET."""

    def many(self, listing: Listing, continue_: str) -> Steps[bytes]:
        """The answer to a LIST."""

    def event(self, event_type: str, record: Record) -> bytes:
        """A line of a WATCH."""

    def bookmark(self, revision: int, annotations: Mapping[str, str]) -> bytes:
        """A BOOKMARK line."""


@dataclass(frozen=True, slots=True)
class ObjectView:
    """The object itself. With `convert` its stored version is another than the one asked for."""

    kind: Kind
    convert: Convert | None = None

    @property
    def key(self) -> object:
        return self.kind.api_version

    def one(self, record: Record) -> bytes:
        if self.convert is None:
            return record.body(self.kind)
        converted = self.convert(self.kind, record.decode())
        rest = {name: value for name, value in converted.items() if name not in ("kind", "apiVersion")}
        return head(self.kind) + msgspec.json.encode(rest)[1:]

    def many(self, listing: Listing, continue_: str) -> Steps[bytes]:
        opening = list_head(self.kind.list_name, self.kind.api_version, listing, continue_)
        if not listing.records:
            return opening + b'"items":[]}\n'
        if len(listing.records) > _SPLICED_PER_STEP:
            yield
        if self.convert is None and not self.kind.custom:  # built-in items do not repeat what the list says
            items, between = [record.tail for record in listing.records], b",{"
            opening += b'"items":[{'
        else:
            items, between = (yield from _each(self.one, listing.records)), b","
            opening += b'"items":['
        items[0] = opening + items[0]
        items[-1] += b"]}\n"
        return between.join(items)  # the only time the whole is copied

    def event(self, event_type: str, record: Record) -> bytes:
        return framed(event_type, self.one(record))

    def bookmark(self, revision: int, annotations: Mapping[str, str]) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        return framed("BOOKMARK", head(self.kind) + b'"metadata":' + msgspec.json.encode(metadata) + b"}")


@dataclass(frozen=True, slots=True)
class MetadataView:
    """PartialObjectMetadata: what the garbage collector and caches of metadata ask for."""

    kind: Kind
    version: str

    @property
    def key(self) -> object:
        return PARTIAL, self.version

    def one(self, record: Record) -> bytes:
        return self._wrapped(bytes(_raw.decode(b"{" + record.tail).metadata))

    def many(self, listing: Listing, continue_: str) -> Steps[bytes]:
        opening = list_head(PARTIAL_LIST, f"meta.k8s.io/{self.version}", listing, continue_)
        items = yield from _each(self.one, listing.records)
        return opening + b'"items":[' + b",".join(items) + b"]}"

    def event(self, event_type: str, record: Record) -> bytes:
        return framed(event_type, self.one(record))

    def bookmark(self, revision: int, annotations: Mapping[str, str]) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        return framed("BOOKMARK", self._wrapped(msgspec.json.encode(metadata)))

    def _wrapped(self, metadata: bytes) -> bytes:
        return b'{"kind":"%b","apiVersion":"meta.k8s.io/%b","metadata":%b}' % (
            PARTIAL.encode(),
            self.version.encode(),
            metadata,
        )


@dataclass(frozen=True, slots=True)
class TableView:
    """Rows for `kubectl get`. `include` says what each row carries: None, Metadata or Object."""

    kind: Kind
    version: str
    tables: Tables
    include: str = "Metadata"
    convert: Convert | None = None

    @property
    def key(self) -> object:
        return TABLE, self.kind.api_version, self.version, self.include

    def one(self, record: Record) -> bytes:
        return self._table({"resourceVersion": str(record.revision)}, [self._row(record)])

    def many(self, listing: Listing, continue_: str) -> Steps[bytes]:
        rows = yield from _each(self._row, listing.records)
        return self._table(list_metadata(listing, continue_), rows)

    def event(self, event_type: str, record: Record) -> bytes:
        return framed(event_type, self.one(record))

    def bookmark(self, revision: int, annotations: Mapping[str, str]) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        mark = {"kind": PARTIAL, "apiVersion": f"meta.k8s.io/{self.version}", "metadata": metadata}
        row = {"cells": [None] * len(self.tables.columns(self.kind)), "object": mark}
        return framed("BOOKMARK", self._table({"resourceVersion": str(revision)}, [row]))

    def _row(self, record: Record) -> dict[str, Any]:
        obj = record.decode()
        shown = obj if self.convert is None else self.convert(self.kind, obj)
        row: dict[str, Any] = {"cells": self.tables.cells(self.kind, shown)}
        conditions = self.tables.conditions(self.kind, shown)
        if conditions:
            row["conditions"] = conditions
        match self.include:
            case "Object":
                row["object"] = msgspec.Raw(ObjectView(self.kind, self.convert).one(record))
            case "Metadata":
                row["object"] = msgspec.Raw(MetadataView(self.kind, self.version).one(record))
            case _:
                row["object"] = None
        return row

    def _table(self, metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bytes:
        return msgspec.json.encode(
            {
                "kind": TABLE,
                "apiVersion": f"meta.k8s.io/{self.version}",
                "metadata": metadata,
                "columnDefinitions": self.tables.columns(self.kind),
                "rows": rows,
            }
        )


def choose(kind: Kind, media: Media, tables: Tables, convert: Convert | None, include_object: str) -> View:
    """The view for a negotiated form."""
    if media.shape == TABLE:
        return TableView(kind, media.version, tables, include_object or "Metadata", convert)
    if media.shape:
        return MetadataView(kind, media.version)
    return ObjectView(kind, convert)


def _each(render: Callable[[Record], T], records: Iterable[Record]) -> Steps[list[T]]:
    """What `render` makes of every record, a few at a step."""
    rendered: list[T] = []
    for index, record in enumerate(records, 1):
        rendered.append(render(record))
        if not index % _RENDERED_PER_STEP:
            yield
    return rendered


def list_metadata(listing: Listing, continue_: str) -> dict[str, Any]:
    """The ListMeta of a page."""
    metadata: dict[str, Any] = {"resourceVersion": str(listing.revision)}
    if continue_:
        metadata["continue"] = continue_
        if listing.remaining:
            metadata["remainingItemCount"] = listing.remaining
    return metadata


def list_head(kind: str, api_version: str, listing: Listing, continue_: str) -> bytes:
    """How a list begins, up to its items."""
    metadata = msgspec.json.encode(list_metadata(listing, continue_))
    return b'{"kind":"%b","apiVersion":"%b","metadata":%b,' % (kind.encode(), api_version.encode(), metadata)
