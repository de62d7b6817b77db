"""For all tests: the loop that components run on, and no silent skips where everything can be had.

uvloop's loop differs from asyncio's in details that matter. A test that cannot have its real server skips with the
line that installs it; under CI=true such a skip is a failure.
"""

import os

import pytest
import uvloop

_INSTALL_LINES = ("apt-get install", "pip install")


def pytest_asyncio_loop_factories():
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        reason = str(report.longrepr)
        if any(line in reason for line in _INSTALL_LINES):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped where everything can be had: {reason}"
    return report
