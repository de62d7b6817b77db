"""The store: what is committed survives a kill, retention holds, and a broken file is no end."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from tests.collector.harness import collecting, request_of

from kubeglass.collector.collector import CollectorConfig
from kubeglass.collector.database import Reader, Retention, Writer
from kubeglass.collector.segments import Groups, Segment, split

TRACE = b"t" * 16


def segments(*spans, service: str = "shop") -> list[Segment]:
    return split(request_of(*spans, service=service), Groups(lambda *key: lambda *span: None)).segments


async def test_a_restart_finds_everything(config: CollectorConfig) -> None:
    """What was accepted before a clean stop is there after the next start, from the same file."""
    async with collecting(config) as running:
        await running.export(request_of({"trace_id": TRACE, "name": "before"}))
    async with collecting(config) as running:
        await running.export(request_of({"trace_id": TRACE, "name": "after"}))
        _, found = await running.get(f"/api/traces/{TRACE.hex()}")
    assert sorted(span["operationName"] for span in found["data"][0]["spans"]) == ["after", "before"]


FEEDER = """
import sys
from pathlib import Path
from kubeglass.collector.database import Writer
from tests.collector.test_store import segments
writer = Writer(Path(sys.argv[1]))
number = 0
while True:
    writer.write(segments(*[{"trace_id": (number * 100 + n + 1).to_bytes(16, "big")} for n in range(100)]), [])
    print(number, flush=True)
    number += 1
"""


def test_kill_9_loses_nothing_committed(config: CollectorConfig) -> None:
    """A process killed in the middle of writing leaves a sound file with every commit it reported."""
    feeder = subprocess.Popen([sys.executable, "-c", FEEDER, str(config.store)], stdout=subprocess.PIPE, text=True)
    assert feeder.stdout is not None
    reported = -1
    while reported < 20:
        reported = int(feeder.stdout.readline())
    feeder.send_signal(signal.SIGKILL)
    reported = max([reported, *map(int, feeder.stdout.read().split())])
    feeder.wait()
    Writer(config.store).close()
    with sqlite3.connect(config.store) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM segments").fetchone()[0] >= (reported + 1) * 100


async def test_a_killed_collector_comes_back(config: CollectorConfig) -> None:
    """An unreadable file is set aside, said so, and a new one is begun."""
    config.store.write_bytes(b"this is not a database" * 1000)
    async with collecting(config) as running:
        await running.export(request_of({"trace_id": TRACE}))
        assert (await running.get(f"/api/traces/{TRACE.hex()}"))[0] == 200
        assert "The trace store is unreadable" in running.log_text.getvalue()
    assert [path.name for path in config.store.parent.glob("*.unreadable-*")]


def test_retention_by_age(config: CollectorConfig) -> None:
    """What was stored before the cutoff goes, whatever times its spans claim."""
    writer = Writer(config.store)
    writer.write(segments({"trace_id": b"o" * 16, "start_time_unix_nano": 2**62, "end_time_unix_nano": 2**62}), [])
    cutoff = time.time_ns()
    writer.write(segments({"trace_id": b"n" * 16, "start_time_unix_nano": 1, "end_time_unix_nano": 2}), [])
    lost = writer.expire(Retention(max_age_seconds=10, max_bytes=1 << 30), cutoff + 10_000_000_000)
    writer.close()
    reader = Reader(config.store)
    assert lost == {"age": 1, "size": 0}
    assert not reader.trace(b"o" * 16) and reader.trace(b"n" * 16)
    reader.close()


def test_retention_by_size(config: CollectorConfig) -> None:
    """The oldest go until the data fits; the newest stay."""
    writer = Writer(config.store)
    for number in range(60):
        writer.write(segments(*[{"name": "x" * 2000} for _ in range(99)], {"trace_id": bytes([number + 1]) * 16}), [])
    assert writer.size() > 10_000_000
    lost = writer.expire(Retention(max_age_seconds=3600, max_bytes=5_000_000), time.time_ns())
    assert writer.size() <= 5_000_000 and lost["size"] >= 3500 and lost["age"] == 0
    writer.close()
    reader = Reader(config.store)
    assert reader.trace(bytes([60]) * 16) and not reader.trace(bytes([1]) * 16)
    reader.close()


async def test_what_waits_is_visible(config: CollectorConfig) -> None:
    """A span can be read back at once, before it is committed, and once only after."""
    async with collecting(config) as running:
        await running.export(request_of({"trace_id": TRACE}))
        store = running.collector._store
        assert sum(len(ScopeSpans.FromString(s.payload).spans) for s in await store.trace(TRACE)) >= 1
        await store.flush()
        _, found = await running.get(f"/api/traces/{TRACE.hex()}")
        assert len(found["data"][0]["spans"]) == 1


async def test_a_full_disk_is_counted(config: CollectorConfig) -> None:
    """Spans that cannot be written are counted as lost, said so, and released from the memory limit."""
    async with collecting(config) as running:
        await running.get("/api/services")
        with sqlite3.connect(config.store) as db:
            db.execute("DROP TABLE segments")
        await running.export(request_of({}, {}))
        await running.get("/api/services")
        assert running.registry.value("kubeglass_collector_store_lost_items_total", signal="traces") == 2
        assert running.registry.value("kubeglass_collector_memory_held_bytes") == 0
        assert "Failed to write to the trace store" in running.log_text.getvalue()
        with pytest.raises(RuntimeError, match="no such table"):
            running.collector._store.check()


async def test_tail_sampling_end_to_end(config: CollectorConfig) -> None:
    """With a policy, a failed trace is stored and a calm one is not; both are in the span metrics."""
    from kubeglass.collector.processors import SamplingPolicy

    failed, calm = os.urandom(16), b"\x00" * 8 + b"\x7f" + os.urandom(7)
    sampling = SamplingPolicy(share=0.0, wait_seconds=0.2)
    async with collecting(replace(config, sampling=sampling)) as running:
        await running.export(request_of({"trace_id": failed, "status": {"code": 2}}, {"trace_id": calm}))
        async with asyncio.timeout(10):
            while (await running.get(f"/api/traces/{failed.hex()}"))[0] != 200:
                await asyncio.sleep(0.05)  # the sampler's own clock decides
        assert (await running.get(f"/api/traces/{calm.hex()}"))[0] == 404
        assert running.registry.value("kubeglass_collector_sampled_out_spans_total") == 1
        assert 'traces_span_metrics_calls_total{service_name="shop",span_kind="SPAN_KIND_INTERNAL"' in (
            running.registry.expose()[1].decode()
        )


@pytest.mark.parametrize("service", ["shop", ""])
async def test_search_while_writing(config: CollectorConfig, service: str) -> None:
    """Searches see everything accepted before them while more arrives."""
    async with collecting(config) as running:
        for number in range(10):
            await running.export(request_of(*[{"name": f"op{number}"} for _ in range(20)]))
            _, found = await running.get("/api/traces", service=service, operation=f"op{number}", flag="any")
            assert len(found["data"]) == 20
