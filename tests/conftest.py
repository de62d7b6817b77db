"""Every asynchronous test runs on the loop that components run on: uvloop's differs from asyncio's in details that matter."""

import asyncio

import pytest
import uvloop


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()
