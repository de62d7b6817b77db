"""A running collector for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.collector.harness import Running, collecting

from kubeglass.collector.collector import CollectorConfig


@pytest.fixture
def config(tmp_path: Path) -> CollectorConfig:
    free = "127.0.0.1:0"
    return CollectorConfig(store=tmp_path / "traces.db", grpc_address=free, http_address=free, query_address=free)


@pytest.fixture
async def running(config: CollectorConfig, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """A collector with the default configuration, or with the changes a test asks for by indirect parameters."""
    async with collecting(replace(config, **getattr(request, "param", {}))) as found:
        yield found
