"""The component as a whole: flags, start, stop, failure to start."""

from __future__ import annotations

import argparse
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.collector.harness import collecting, request_of

from kubeglass.collector.collector import CollectorConfig, add_flags, config_from


def parse(*arguments: str) -> CollectorConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return config_from(parser.parse_args(arguments))


def test_flags() -> None:
    """Defaults are the well-known ports; every flag reaches the configuration."""
    default = parse()
    assert (default.grpc_address, default.http_address, default.query_address) == (
        "127.0.0.1:4317",
        "127.0.0.1:4318",
        "127.0.0.1:16686",
    )
    assert default.sampling.keeps_everything and default.retention.max_age_seconds == 48 * 3600
    assert default == CollectorConfig(store=Path("traces.db"))
    chosen = parse(
        "--retention-age=90m",
        "--retention-size-mib=7",
        "--memory-limit-mib=3",
        "--tail-sampling-rate-per-million=250000",
        "--tail-sampling-wait=3s",
        "--tail-sampling-slow-threshold=200ms",
        "--forward-endpoint=tempo:4317",
        "--trace-store=/x/y.db",
        "--query-bind-address=[::1]:0",
    )
    assert (chosen.retention.max_age_seconds, chosen.retention.max_bytes) == (5400, 7 << 20)
    assert (chosen.memory_limit_bytes, chosen.forward_endpoint, chosen.store) == (
        3 << 20,
        "tempo:4317",
        Path("/x/y.db"),
    )
    assert (chosen.sampling.share, chosen.sampling.wait_seconds, chosen.sampling.slow_seconds) == (0.25, 3, 0.2)


@pytest.mark.parametrize("port", ["grpc_address", "http_address", "query_address"])
async def test_a_taken_port_is_an_error(config: CollectorConfig, port: str) -> None:
    """A collector that cannot listen fails at once, with the reason, instead of hanging half started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BaseExceptionGroup) as caught:
            async with collecting(replace(config, **{port: address})):
                pass
    assert caught.group_contains((OSError, RuntimeError), match=r"(?i)address|bind")


async def test_what_was_accepted_last_is_stored(config: CollectorConfig) -> None:
    """A collector that is stopped right after an answer keeps what it answered for."""
    async with collecting(config) as running:
        await running.export(request_of({"trace_id": b"l" * 16}))
    async with collecting(config) as running:
        assert (await running.get(f"/api/traces/{(b'l' * 16).hex()}"))[0] == 200
