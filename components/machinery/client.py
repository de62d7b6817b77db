"""Verbs over a Kind, for every component: get, list, create, update, patch, delete, watch.

Objects travel as decoded JSON; typed reading is `api.objects`. Failures raise `api.errors` (the server answered)
or `transport.Unreachable` (it did not). One seam measures, logs and traces every request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from urllib.parse import quote, urlencode

import msgspec

from kubeglass import GIT_VERSION
from kubeglass.components.api.errors import ApiError, from_status
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.semantics import about
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.clientlog import WireLog
from kubeglass.components.machinery.ratelimit import TokenBucket
from kubeglass.components.machinery.transport import NetworkTransport, Reply, Stream, Transport, Unreachable
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.context import inject
from kubeglass.telemetry.tracing.tracer import CLIENT

Object = dict[str, Any]
PatchType = Literal["merge", "strategic", "json", "apply"]
PropagationPolicy = Literal["", "Background", "Foreground", "Orphan"]
"""What becomes of dependents; '' leaves it to the server."""

_PATCH_CONTENT_TYPES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_MAX_RETRIES = 10
_REQUEST_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ObjectList:
    """One page of a LIST."""

    items: list[Object]
    resource_version: str
    continue_: str = ""
    remaining: int | None = None


class WatchLine(msgspec.Struct, frozen=True):
    """One line of a watch: the object still encoded, for the reader to decode as it likes."""

    type: str
    object: msgspec.Raw


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch, decoded. `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


_decode_watch_line = msgspec.json.Decoder(WatchLine).decode
_encode = msgspec.json.encode


class Client:
    """A typed view of one API server for one identity."""

    def __init__(
        self,
        access: Access,
        telemetry: Telemetry,
        user_agent: str = "kubeglass",
        transport: Transport | None = None,
        limit: TokenBucket | None = None,
    ) -> None:
        self._limit = limit
        self._transport = transport or NetworkTransport(access)
        self._replaced: list[Transport] = []  # their watches go on until the server ends them
        self._tracer = telemetry.tracer
        self._wire = WireLog(telemetry, access.server, self._transport.host)
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"{user_agent}/{GIT_VERSION} (linux/amd64) kubernetes/kubeglass",
        }

    def use(self, access: Access) -> None:
        """Take other credentials: what is under way goes on by the old connections, what comes goes by new ones."""
        self._replaced.append(self._transport)
        self._transport = NetworkTransport(access)

    async def close(self) -> None:
        """Give back every connection."""
        for transport in (*self._replaced, self._transport):
            await transport.close()

    # -- verbs ----------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str, namespace: str = "", subresource: str = "") -> Object:
        """One object. Raises NotFound."""
        path = kind.path(namespace, name, subresource)
        return _object(await self._send("GET", path, about=about(kind, namespace, name)))

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        """One page of objects. Raises Expired when `continue_` or `resource_version` is too old."""
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit) if limit else "",
            "continue": continue_,
            "resourceVersion": resource_version,
        }
        path = kind.path(namespace) + _query(query)
        body = _object(await self._send("GET", path, about=about(kind, namespace)))
        meta = body.get("metadata") or {}
        return ObjectList(
            items=body.get("items") or [],
            resource_version=meta.get("resourceVersion", ""),
            continue_=meta.get("continue", ""),
            remaining=meta.get("remainingItemCount"),
        )

    async def create(
        self, kind: Kind, obj: Mapping[str, Any], namespace: str = "", *, field_manager: str = ""
    ) -> Object:
        """Create an object. Raises AlreadyExists, Invalid, Forbidden."""
        path = kind.path(namespace) + _query({"fieldManager": field_manager})
        name = (obj.get("metadata") or {}).get("name", "")
        return _object(await self._send("POST", path, _encode(obj), about=about(kind, namespace, name)))

    async def create_subresource(
        self, kind: Kind, name: str, namespace: str, subresource: str, body: Mapping[str, Any]
    ) -> Object:
        """POST to a subresource: binding, eviction, token."""
        path = kind.path(namespace, name, subresource)
        return _object(await self._send("POST", path, _encode(body), about=about(kind, namespace, name)))

    async def update(self, kind: Kind, obj: Mapping[str, Any], subresource: str = "") -> Object:
        """Replace an object. Raises Conflict when its resourceVersion is not the newest."""
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        path = kind.path(namespace, name, subresource)
        return _object(await self._send("PUT", path, _encode(obj), about=about(kind, namespace, name)))

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any] | Sequence[Any],
        namespace: str = "",
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """Change an object by a patch."""
        query = _query({"fieldManager": field_manager, "force": "true" if force else ""})
        path = kind.path(namespace, name, subresource) + query
        headers = {"Content-Type": _PATCH_CONTENT_TYPES[patch_type]}
        return _object(await self._send("PATCH", path, _encode(patch), headers, about(kind, namespace, name)))

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: PropagationPolicy = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete an object; the answer is the object (still finalizing) or a Status."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        if preconditions:
            options["preconditions"] = preconditions
        path = kind.path(namespace, name)
        return _object(await self._send("DELETE", path, _encode(options), about=about(kind, namespace, name)))

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[WatchEvent]:
        """Events after `resource_version`, decoded, until the server ends the stream. Raises Expired."""
        lines = self.watch_lines(
            kind,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_seconds=timeout_seconds,
        )
        async for line in lines:
            yield WatchEvent(line.type, msgspec.json.decode(line.object))

    async def watch_lines(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[WatchLine]:
        """As `watch`, with each object left encoded. An ERROR event raises what its Status says.

        `opened` is called when the server has taken the watch, which may be long before the first event.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": str(timeout_seconds) if timeout_seconds else "",
        }
        async with self.stream("GET", kind.path(namespace) + _query(query)) as stream:
            opened()
            async for raw in stream.lines:
                line = _decode_watch_line(raw)
                if line.type == "ERROR":
                    status = msgspec.json.decode(line.object)
                    raise from_status(status, status.get("code", 500))
                yield line

    # -- below the verbs ------------------------------------------------------------------------------------------

    async def raw(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request; the answer as it came, errors raised as for the verbs."""
        return await self._send(method, path, body, headers)

    def stream(self, method: str, path: str) -> _OpenStream:
        """Any request whose answer is read line by line; errors raised on entering."""
        return _OpenStream(self._transport, method, path, self._headers, self._wire)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, repeated while the server says when to come back (429 or 5xx with Retry-After)."""
        sent = {**self._headers, **headers} if headers else dict(self._headers)
        if body is not None and "Content-Type" not in sent:
            sent["Content-Type"] = "application/json"
        started = time.monotonic()
        for attempt in range(_MAX_RETRIES + 1):
            reply = await self._send_once(method, path, body, sent, attempt, about)
            retry_after = _retry_after_seconds(reply)
            if retry_after is None or attempt == _MAX_RETRIES:
                break
            await asyncio.sleep(retry_after)
        self._wire.completed(started, method, body, reply)
        if reply.status >= 400:
            _raise_status(reply)
        return reply

    async def _send_once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        attempt: int,
        about: Mapping[str, str] | None,
    ) -> Reply:
        await self._throttle(method, path)
        with self._tracer.span(f"HTTP {method}", kind=CLIENT, attributes=about) as span:
            inject(headers)
            started = self._wire.sending(method, path, body, headers)
            try:
                reply = await self._transport.request(
                    method, path, headers=headers, body=body, timeout_seconds=_REQUEST_TIMEOUT_SECONDS
                )
            except Unreachable:
                self._wire.unanswered(started, method, path, retry=attempt > 0)
                raise
            self._wire.answered(started, method, path, reply, retry=attempt > 0)
            self._wire.describe(span, method, path, reply.status)
            return reply

    async def _throttle(self, method: str, path: str) -> None:
        """Wait until the client's own rate limit lets an attempt through. Watches are not limited."""
        if self._limit is None:
            return
        seconds = self._limit.reserve(time.monotonic())
        if seconds:
            with self._tracer.span("client-side throttling"):
                await asyncio.sleep(seconds)
        self._wire.throttled(method, path, seconds)


class _OpenStream:
    """Async context manager: a streamed request whose failure Status is raised on entering."""

    def __init__(self, transport: Transport, method: str, path: str, headers: Mapping[str, str], wire: WireLog) -> None:
        self._context = transport.stream(method, path, headers=headers)
        self._method, self._path, self._headers, self._wire = method, path, headers, wire

    async def __aenter__(self) -> Stream:
        started = self._wire.sending(self._method, self._path, None, self._headers)
        try:
            stream = await self._context.__aenter__()
        except Unreachable:
            self._wire.unanswered(started, self._method, self._path, retry=False)
            raise
        head = Reply(stream.status, stream.headers, b"")
        self._wire.answered(started, self._method, self._path, head, retry=False)
        if stream.status >= 400:
            body = await stream.read()
            await self._context.__aexit__(None, None, None)
            _raise_status(Reply(stream.status, stream.headers, body))
        return stream

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        return await self._context.__aexit__(*exc_info)


def _object(reply: Reply) -> Object:
    decoded: Object = msgspec.json.decode(reply.body)
    return decoded


def _query(parameters: Mapping[str, str]) -> str:
    present = {key: value for key, value in parameters.items() if value}
    return "?" + urlencode(present, quote_via=quote) if present else ""


def _retry_after_seconds(reply: Reply) -> float | None:
    """Seconds to wait before the same request may be repeated; None when it may not."""
    if reply.status != 429 and reply.status < 500:
        return None
    value = reply.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _raise_status(reply: Reply) -> NoReturn:
    try:
        status = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        raise from_status(status, reply.status)
    text = reply.body[:512].decode(errors="replace").strip()
    raise ApiError(text or f"the server responded with status {reply.status}", code=reply.status)
