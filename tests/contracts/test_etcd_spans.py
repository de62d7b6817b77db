"""Calls to etcd in the trace, as otelgrpc shows them: children of the store's spans, with etcd's own verdict."""

from __future__ import annotations

import time

import pytest

from kubeglass.components.apiserver.storage.backend import KeyExists, StoreUnavailable
from kubeglass.components.apiserver.storage.etcd import EtcdBackend, EtcdOptions
from kubeglass.components.apiserver.storage.measured import MeasuredBackend
from kubeglass.components.testing.signals import Traces
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import CLIENT, ERROR, UNSET, Tracer


async def test_calls_are_children_of_the_operation(etcd_url: str) -> None:
    """Range and Txn with address and code; a transaction whose condition fails was answered all the same."""
    traces = Traces()
    tracer = Tracer(traces.sink("apiserver"))
    store = MeasuredBackend(EtcdBackend(EtcdOptions((etcd_url,)), tracer=tracer), Registry(), tracer)
    await store.start()
    key = f"/registry/spans/{time.time_ns()}"
    await store.create(key, b"{}")
    with pytest.raises(KeyExists):
        await store.create(key, b"{}")
    await store.get(key)
    await store.close()
    for name, inner in (("Create etcd3", "etcdserverpb.KV/Txn"), ("Get etcd3", "etcdserverpb.KV/Range")):
        outer = traces.one(name).span
        (call,) = [each.span for each in traces.spans(inner) if each.span.parent == outer.context]
        assert (call.kind, call.status) == (CLIENT, UNSET)
        assert call.attributes == {
            "rpc.system": "grpc",
            "rpc.service": "etcdserverpb.KV",
            "rpc.method": inner.rpartition("/")[2],
            "server.address": "127.0.0.1",
            "server.port": int(etcd_url.rpartition(":")[2]),
            "rpc.response.status_code": "OK",
        }


async def test_a_call_that_fails() -> None:
    """Nobody listens: the span says so, and the store is unavailable."""
    traces = Traces()
    tracer = Tracer(traces.sink("apiserver"))
    with pytest.raises(StoreUnavailable):
        await EtcdBackend(EtcdOptions(("http://127.0.0.1:1",), timeout_seconds=1.0), tracer=tracer).start()
    (seen,) = traces.spans("etcdserverpb.KV/Range")
    assert seen.span.status == ERROR
    assert seen.span.attributes["rpc.response.status_code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
