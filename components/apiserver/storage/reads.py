"""What `resourceVersion`, `resourceVersionMatch`, `limit` and `continue` mean: every GET and LIST is decided here.

Semantics as https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions; texts as the apiserver's.
All reads come from the watch caches. A read that must be consistent asks the store for its newest revision and
waits for the cache to reach it; only when that takes too long, or when history older than the cache is wanted, does
the store itself answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from kubeglass.components.api.errors import ApiError, BadRequest, Cause, Expired, Timeout, invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.storage import continuation
from kubeglass.components.apiserver.storage.backend import (
    Compacted,
    Entry,
    FutureRevision,
    Page,
    tail_with_resource_version,
)
from kubeglass.components.apiserver.storage.records import Filter, Record
from kubeglass.components.apiserver.storage.watchcache import Listing
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"
_FRESH_SECONDS = 3.0
_EXPIRED_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_EXPIRED_LIST = "The resourceVersion for the provided list is too old."


class ExpiredPage(Expired):
    """410 for a continue token; carries a token that goes on inconsistently."""

    def __init__(self, message: str, continue_: str) -> None:
        super().__init__(message)
        self.continue_ = continue_

    def status(self) -> dict[str, object]:
        status = super().status()
        status["metadata"] = {"continue": self.continue_}
        return status


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How a LIST was asked for."""

    resource_version: str = ""
    match: str = ""
    limit: int = 0
    continue_: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A page and the token for the next one."""

    listing: Listing
    continue_: str = ""


class Reads:
    """Consistent and cached reads over all resources."""

    def __init__(self, caches: WatchCaches) -> None:
        self.caches = caches

    async def get(self, kind: Kind, namespace: str, name: str, resource_version: str = "") -> Record | None:
        """One object, at least as new as asked; None when there is none."""
        key = kind.storage_key(namespace, name)
        cache = self.caches.of(kind)
        revision = parse_revision(resource_version, kind, name)
        if revision is None:
            if not await self._caught_up(kind):
                entry = await self.caches.backend.get(key)
                return None if entry is None else _record(entry, len(cache.prefix))
        elif revision:
            await self.wait_until(kind, revision)
        return cache.get(key)

    async def list(self, wanted: Filter, options: ListOptions = ListOptions()) -> Result:
        """A page of objects. Raises Expired, BadRequest, Invalid, Timeout."""
        revision = parse_revision(options.resource_version, wanted.kind)
        if options.continue_:
            if revision:
                raise BadRequest("specifying resource version is not allowed when using continue")
            return await self._next_page(wanted, options)
        limit = options.limit
        if revision is None:
            listing = await self._consistent(wanted, limit)
        elif revision and (options.match == EXACT or (limit and not options.match)):
            listing = await self._exact(wanted, revision, limit, "")
        else:
            if revision:
                await self.wait_until(wanted.kind, revision)
            else:
                limit = 0  # any version will do: the whole list, straight from the cache
            listing = self._cached(wanted, limit)
        return self._with_token(listing, wanted)

    async def wait_until(self, kind: Kind, revision: int) -> None:
        """Return when the cache has reached `revision`. Raises Timeout with upstream's cause."""
        started = time.monotonic()
        reached = await self.caches.wait_until(revision, _FRESH_SECONDS)
        self.caches.instruments(kind).read_wait.observe(time.monotonic() - started)
        if not reached:
            raise too_large_revision(revision, self.caches.revision)

    async def current(self, kind: Kind) -> int:
        """Wait until the cache shows everything written so far; the answer is its revision."""
        await self._caught_up(kind)
        return self.caches.revision

    async def _caught_up(self, kind: Kind) -> bool:
        newest = await self.caches.backend.current_revision()
        return self.caches.of(kind).ready and await self.caches.wait_until(newest, _FRESH_SECONDS)

    async def _consistent(self, wanted: Filter, limit: int) -> Listing:
        instruments = self.caches.instruments(wanted.kind)
        if await self._caught_up(wanted.kind):
            instruments.consistent_read.inc()
            return self._cached(wanted, limit)
        instruments.fallback_read.inc()
        return await self._stored(wanted, 0, limit, "")

    def _cached(self, wanted: Filter, limit: int, start: str = "") -> Listing:
        listing = self.caches.of(wanted.kind).list(wanted, limit, start)
        self._count(wanted.kind, listing)
        return replace(listing, revision=max(listing.revision, self.caches.revision))

    async def _exact(self, wanted: Filter, revision: int, limit: int, start: str) -> Listing:
        if revision > self.caches.revision:
            await self.wait_until(wanted.kind, revision)
        listing = self.caches.of(wanted.kind).list_at(revision, wanted, limit, start)
        if listing is None:
            return await self._stored(wanted, revision, limit, start)
        self._count(wanted.kind, listing)
        return listing

    async def _stored(self, wanted: Filter, revision: int, limit: int, start: str) -> Listing:
        """From the store, page by page until enough objects match."""
        cache = self.caches.of(wanted.kind)
        prefix = f"{cache.prefix}{wanted.namespace}/" if wanted.namespace else cache.prefix
        found: list[Record] = []
        after = start.removesuffix("\0")
        while True:
            page = await self._page(prefix, after, limit, revision)
            revision = page.revision
            found += [record for entry in page.entries if wanted.matches(record := _record(entry, len(cache.prefix)))]
            if not page.remaining or (limit and len(found) >= limit):
                break
            after = page.entries[-1].key
        more = bool(page.remaining) or bool(limit and len(found) > limit)
        remaining = page.remaining if more and not wanted.selective else None
        return Listing(found[:limit] if limit else found, revision, more, remaining)

    async def _page(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        try:
            return await self.caches.backend.list(prefix, start_after=after, limit=limit, revision=revision)
        except Compacted as error:
            raise Expired(_EXPIRED_LIST) from error
        except FutureRevision as error:
            raise too_large_revision(revision, error.current) from error

    async def _next_page(self, wanted: Filter, options: ListOptions) -> Result:
        prefix = self._list_prefix(wanted)
        token = continuation.decode(options.continue_, prefix)
        if token.revision == continuation.INCONSISTENT:
            await self._caught_up(wanted.kind)
            return self._with_token(self._cached(wanted, options.limit, token.start), wanted)
        try:
            listing = await self._exact(wanted, token.revision, options.limit, token.start)
        except Expired as error:
            start = token.start.removesuffix("\0")
            raise ExpiredPage(_EXPIRED_PAGE, continuation.encode(start, prefix, continuation.INCONSISTENT)) from error
        return self._with_token(listing, wanted)

    def _with_token(self, listing: Listing, wanted: Filter) -> Result:
        if not listing.more or not listing.records:
            return Result(listing)
        token = continuation.encode(listing.records[-1].key, self._list_prefix(wanted), listing.revision)
        return Result(listing, token)

    def _list_prefix(self, wanted: Filter) -> str:
        prefix = wanted.kind.storage_prefix()
        return f"{prefix}{wanted.namespace}/" if wanted.namespace else prefix

    def _count(self, kind: Kind, listing: Listing) -> None:
        instruments = self.caches.instruments(kind)
        instruments.lists.inc()
        instruments.list_fetched.inc(len(listing.records))
        instruments.list_returned.inc(len(listing.records))


class DecodedReads:
    """Reads by kind for those who want decoded objects: admission, allocation, rules."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The newest state of an object, None when there is none."""
        record = await self._reads.get(kind, namespace if kind.namespaced else "", name)
        return None if record is None else _whole(record, kind)

    async def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        """Every object of a namespace, or of all."""
        result = await self._reads.list(Filter(kind, namespace if kind.namespaced else ""))
        return [_whole(record, kind) for record in result.listing.records]


def _whole(record: Record, kind: Kind) -> dict[str, Any]:
    return {"kind": kind.kind, "apiVersion": kind.stored_api_version, **record.decode()}


def parse_revision(text: str, kind: Kind, name: str = "") -> int | None:
    """The revision of a resourceVersion parameter, None when it is unset. Raises Invalid."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**64:
        why = "invalid syntax" if not text.isdigit() else "value out of range"
        message = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}'
        raise invalid(kind.plural, kind.group, name, [Cause("FieldValueInvalid", message, "resourceVersion")])
    return int(text)


def too_large_revision(wanted: int, current: int) -> ApiError:
    """The 504 for a revision that does not exist yet."""
    return Timeout(
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_seconds=1,
    )


def _record(entry: Entry, prefix_length: int) -> Record:
    return Record(entry.key, prefix_length, tail_with_resource_version(entry.value, entry.revision), entry.revision)
