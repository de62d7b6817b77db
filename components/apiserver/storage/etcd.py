"""A real etcd v3 as the store, over grpc.aio and the few messages of etcd.proto.

Compare-and-swap is one Txn on the key's mod_revision. Time to live uses leases that many objects share, as upstream
does, because a lease per Event would cost a write each. Whether a write that met a broken connection happened is
unknown: it raises StoreUnavailable and is not repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import Message

from kubeglass.components.apiserver.storage import etcd_pb2 as pb
from kubeglass.components.apiserver.storage.backend import (
    Batch,
    Compacted,
    Entry,
    Event,
    FutureRevision,
    KeyExists,
    Page,
    RevisionConflict,
    StorageError,
    StoreUnavailable,
    prefix_end,
)
from kubeglass.components.apiserver.storage.metrics import GrpcClientMetrics
from kubeglass.telemetry.metrics.instruments import CounterChild
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import CLIENT, Fixed, Tracer

M = TypeVar("M", bound=Message)
_PAGE = 1000
"""How many entries one Range asks for when the caller wants all."""
_LEASE_OBJECTS = 1000
_LEASE_REUSE_SECONDS = 60
_RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_ASK_SECONDS = 0.05
"""How soon etcd may be asked for progress again, however many wait for it."""
_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs
_COMPACTED = "required revision has been compacted"
_FUTURE = "required revision is a future revision"


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """Where etcd is and how to prove who we are; names as the --etcd-* flags."""

    servers: tuple[str, ...]
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    timeout_seconds: float = 10.0


@dataclass(slots=True)
class _Lease:
    """A lease that objects with the same time to live share for a while."""

    id: int = 0
    reuse_until: float = 0.0
    objects: int = 0


class _Following:
    """An open watch stream, and how far it has come."""

    def __init__(self, stream: Any, position: int) -> None:
        self.stream = stream
        self.position = position
        self._ask_again = 0.0

    async def ask_for_progress(self) -> None:
        """Let etcd say how far the stream has come; it answers when it has sent everything."""
        now = time.monotonic()
        if now >= self._ask_again:
            self._ask_again = now + _ASK_SECONDS
            await self.stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))


@dataclass(slots=True)
class EtcdBackend:
    """A Backend in an etcd cluster, which other API servers may share."""

    options: EtcdOptions
    metrics: GrpcClientMetrics = field(default_factory=lambda: GrpcClientMetrics(Registry()))
    tracer: Tracer = field(default_factory=Tracer)
    name: str = "etcd3"
    _channel: grpc.aio.Channel | None = None
    _leases: dict[int, _Lease] = field(default_factory=dict)
    _compacted: int = 0
    _following: set[_Following] = field(default_factory=set)

    async def start(self) -> None:
        self._channel = _open_channel(self.options)
        await self._range(pb.RangeRequest(key=b"health", count_only=True))

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        response = await self._range(pb.RangeRequest(key=key.encode(), revision=revision))
        return _entry(response.kvs[0]) if response.kvs else None

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        entries: list[Entry] = []
        first = start_after.encode() + b"\0" if start_after >= prefix else prefix.encode()
        while True:
            response = await self._range(
                pb.RangeRequest(key=first, range_end=_end(prefix), limit=limit or _PAGE, revision=revision)
            )
            revision = revision or response.header.revision
            entries += map(_entry, response.kvs)
            if limit or not response.more:
                return Page(tuple(entries), revision, response.count - len(response.kvs))
            first = response.kvs[-1].key + b"\0"

    async def create(self, key: str, value: bytes, ttl_seconds: int = 0) -> int:
        put = pb.RequestOp(request_put=await self._put(key, value, ttl_seconds))
        response = await self._txn(pb.TxnRequest(compare=[_unchanged_since(key, 0)], success=[put]))
        if not response.succeeded:
            raise KeyExists(key)
        return int(response.header.revision)

    async def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int = 0) -> int:
        put = pb.RequestOp(request_put=await self._put(key, value, ttl_seconds))
        return await self._swap(key, expected_revision, put)

    async def delete(self, key: str, expected_revision: int) -> int:
        delete = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key.encode()))
        return await self._swap(key, expected_revision, delete)

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """Reconnects by itself; ends only with Compacted."""
        position, failures = after_revision, 0
        while True:
            if position < self._compacted:
                raise Compacted(position, self._compacted)
            try:
                async for batch in self._watch_once(prefix, position):
                    position, failures = batch.revision, 0
                    yield batch
            except StoreUnavailable:
                await asyncio.sleep(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
                failures += 1

    async def compact(self, revision: int) -> None:
        try:
            await self._call("KV/Compact", pb.CompactionRequest(revision=revision), pb.CompactionResponse)
        except Compacted:
            return
        self._compacted = max(self._compacted, revision)

    async def expire(self, now: float) -> None:
        """etcd's leases do this."""

    async def current_revision(self) -> int:
        response = await self._range(pb.RangeRequest(key=b"health", count_only=True))
        return int(response.header.revision)

    async def request_progress(self) -> None:
        for following in tuple(self._following):
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # its reader will hear of it
                await following.ask_for_progress()

    async def count(self, prefix: str) -> int:
        request = pb.RangeRequest(key=prefix.encode(), range_end=_end(prefix), count_only=True)
        return int((await self._range(request)).count)

    async def size_bytes(self) -> int:
        return int((await self._call("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)).dbSize)

    async def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        return await self._call("KV/Range", request, pb.RangeResponse, wanted=request.revision)

    async def _txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        return await self._call("KV/Txn", request, pb.TxnResponse)

    async def _call(self, method: str, request: Any, response: type[M], wanted: int = 0) -> M:
        if self._channel is None:
            raise StoreUnavailable("the connection to etcd is closed")
        call = self._channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=_serialize,
            response_deserializer=response.FromString,
        )
        try:
            with self._span(method), _counted(self.metrics, "unary", method):
                answer: M = await call(request, timeout=self.options.timeout_seconds)
            return answer
        except grpc.aio.AioRpcError as error:
            raise _translated(error, wanted) from error

    @contextmanager
    def _span(self, method: str) -> Iterator[None]:
        """One RPC as otelgrpc shows it. What etcd refuses is no exception of ours."""
        failure: grpc.aio.AioRpcError | None = None
        span = self.tracer.span(f"etcdserverpb.{method}", kind=CLIENT, shared=(_about_rpc(self.options, method),))
        with span:
            try:
                yield
                span.set("rpc.response.status_code", "OK")
            except grpc.aio.AioRpcError as error:
                span.set("rpc.response.status_code", error.code().name)
                span.error(error.details() or "")
                failure = error
        if failure is not None:
            raise failure

    async def _put(self, key: str, value: bytes, ttl_seconds: int) -> pb.PutRequest:
        lease = await self._lease(ttl_seconds) if ttl_seconds else 0
        return pb.PutRequest(key=key.encode(), value=value, lease=lease)

    async def _swap(self, key: str, expected_revision: int, change: pb.RequestOp) -> int:
        current = pb.RequestOp(request_range=pb.RangeRequest(key=key.encode()))
        response = await self._txn(
            pb.TxnRequest(compare=[_unchanged_since(key, expected_revision)], success=[change], failure=[current])
        )
        if not response.succeeded:
            found = response.responses[0].response_range.kvs
            raise RevisionConflict(key, _entry(found[0]) if found else None)
        return int(response.header.revision)

    async def _lease(self, ttl_seconds: int) -> int:
        lease = self._leases.setdefault(ttl_seconds, _Lease())
        if time.monotonic() >= lease.reuse_until or lease.objects >= _LEASE_OBJECTS:
            reuse = min(_LEASE_REUSE_SECONDS, ttl_seconds // 20)
            granted = await self._call(
                "Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_seconds + reuse), pb.LeaseGrantResponse
            )
            lease.id, lease.objects, lease.reuse_until = granted.ID, 0, time.monotonic() + reuse
        lease.objects += 1
        return lease.id

    async def _watch_once(self, prefix: str, position: int) -> AsyncIterator[Batch]:
        if self._channel is None:
            raise StoreUnavailable("the connection to etcd is closed")
        open_stream: Any = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=_serialize,
            response_deserializer=pb.WatchResponse.FromString,
        )
        wanted = pb.WatchCreateRequest(
            key=prefix.encode(), range_end=_end(prefix), start_revision=position + 1, prev_kv=True
        )
        stream: Any = open_stream()
        following = _Following(stream, position)
        about = _about_rpc(self.options, "Watch/Watch")
        span = self.tracer.start("etcdserverpb.Watch/Watch", kind=CLIENT, parent=None, shared=(about,))
        try:
            with _counted(self.metrics, "bidi_stream", "Watch/Watch") as (sent, received):
                await stream.write(pb.WatchRequest(create_request=wanted))
                sent.inc()
                self._following.add(following)
                while (response := await stream.read()) is not _END:
                    received.inc()
                    if response.canceled:
                        raise self._cancelled(response, position)
                    if response.events:
                        events = tuple(map(_event, response.events))
                        following.position = events[-1].revision
                        yield Batch(events, following.position)
                    elif not response.created:  # all events up to this revision have been sent
                        following.position = max(following.position, response.header.revision)
                        yield Batch((), following.position)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, position) from error
        finally:
            self._following.discard(following)
            stream.cancel()
            span.end()
        raise StoreUnavailable("etcd ended the watch stream")

    def _cancelled(self, response: pb.WatchResponse, position: int) -> StorageError:
        if response.compact_revision:
            self._compacted = max(self._compacted, response.compact_revision)
            return Compacted(position, response.compact_revision)
        return StoreUnavailable(f"etcd cancelled the watch: {response.cancel_reason}")


def _open_channel(options: EtcdOptions) -> grpc.aio.Channel:
    """A channel over all servers; https needs a trust bundle and usually a client certificate."""
    urls = [urlsplit(server if "//" in server else f"http://{server}") for server in options.servers]
    hosts = [f"{url.hostname}:{url.port or 2379}" for url in urls]
    numeric = all(host.replace(".", "").replace(":", "").isdigit() for host in hosts)
    target = "ipv4:" + ",".join(hosts) if numeric else hosts[0]
    settings: Sequence[tuple[str, Any]] = (
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    )
    if urls[0].scheme != "https":
        return grpc.aio.insecure_channel(target, settings)
    credentials = grpc.ssl_channel_credentials(
        *(_content(file) for file in (options.ca_file, options.key_file, options.cert_file))
    )
    return grpc.aio.secure_channel(target, credentials, settings)


@cache
def _about_rpc(options: EtcdOptions, method: str) -> Fixed:
    """What all calls of a method say: otelgrpc's attributes. The address is the first server's, as the flag has it."""
    service, _, name = method.partition("/")
    address = urlsplit(options.servers[0])
    return Fixed(
        {
            "rpc.system": "grpc",
            "rpc.service": f"etcdserverpb.{service}",
            "rpc.method": name,
            "server.address": address.hostname or "",
            "server.port": address.port or 2379,
        }
    )


def _content(file: str) -> bytes | None:
    return Path(file).read_bytes() if file else None


def _translated(error: grpc.aio.AioRpcError, wanted: int) -> StorageError:
    details = error.details() or ""
    if _COMPACTED in details:
        return Compacted(wanted, 0)
    if _FUTURE in details:
        return FutureRevision(wanted, 0)
    return StoreUnavailable(f"etcd: {error.code().name}: {details}")


@contextmanager
def _counted(metrics: GrpcClientMetrics, kind: str, method: str) -> Iterator[tuple[CounterChild, CounterChild]]:
    """Count one RPC from start to end; yields the counters of messages sent and received (a unary call: one each)."""
    service, _, name = method.partition("/")
    labels = (kind, f"etcdserverpb.{service}", name)
    sent = metrics.grpc_client_msg_sent_total.labels(*labels)
    received = metrics.grpc_client_msg_received_total.labels(*labels)
    metrics.grpc_client_started_total.labels(*labels).inc()
    code = "Canceled"
    try:
        if kind == "unary":
            sent.inc()
        yield sent, received
        if kind == "unary":
            received.inc()
        code = "OK"
    except grpc.aio.AioRpcError as error:
        code = error.code().name.title().replace("_", "").replace("Cancelled", "Canceled")
        raise
    finally:
        metrics.grpc_client_handled_total.labels(*labels, code).inc()


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _end(prefix: str) -> bytes:
    return prefix_end(prefix).encode()


def _unchanged_since(key: str, revision: int) -> pb.Compare:
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key.encode(), mod_revision=revision)


def _entry(kv: pb.KeyValue) -> Entry:
    return Entry(kv.key.decode(), kv.value, kv.mod_revision, kv.create_revision)


def _event(event: pb.Event) -> Event:
    kv, key = event.kv, event.kv.key.decode()
    before = event.prev_kv.value if event.HasField("prev_kv") else None
    if event.type == pb.Event.DELETE:
        return Event("delete", key, b"", before, kv.mod_revision, False)
    return Event("put", key, kv.value, before, kv.mod_revision, kv.create_revision == kv.mod_revision)
