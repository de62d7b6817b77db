"""Every asynchronous test runs on the loop that components run on: uvloop's differs from asyncio's in details that matter."""

import uvloop


def pytest_asyncio_loop_factories():
    return {"uvloop": uvloop.new_event_loop}
