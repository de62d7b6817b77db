"""Clusters shared by the tests of a module: booting is quick, but not free."""

from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster

LONG = ("test_prove", "test_apf_load", "test_apf_whatif", "test_logs_leaks", "test_traces_long", "test_monitoring_long")
"""Minutes each, and sensitive to whatever else the machine does: `make test-long` runs them, `make test` does not."""


def pytest_collection_modifyitems(items):
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
        if item.path.stem in LONG:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module")
def one_node() -> Iterator[Cluster]:
    """A cluster of one node, kept for a module; tests use namespaces or names of their own."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module", params=["root", "unprivileged"])
def two_nodes(request) -> Iterator[Cluster]:
    """A cluster of two nodes, once as root and once as a user without any privilege."""
    with cluster("--nodes", "2", unprivileged=request.param == "unprivileged") as running:
        yield running
