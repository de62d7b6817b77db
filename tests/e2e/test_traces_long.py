"""200 changes on a cluster of three nodes, under the rules of test_traces.py: some minutes."""

from collections.abc import Iterator

import pytest
from tests.e2e.cluster import cluster
from tests.e2e.test_traces import Run, check_connected, check_critical_path, check_orphans, run_changes


@pytest.fixture(scope="module")
def changed() -> Iterator[Run]:
    with cluster("--nodes", "3") as running:
        yield run_changes(running, 200)


@pytest.mark.timeout(1800)
def test_two_hundred_changes_are_connected(changed: Run) -> None:
    """At most two are not one graph."""
    check_connected(changed)


def test_hardly_a_span_of_theirs_is_an_orphan(changed: Run) -> None:
    """Less than one in a hundred."""
    check_orphans(changed)


def test_their_critical_paths_are_the_time_the_user_waited(changed: Run) -> None:
    """At most two differ by more than 5 %; see test_traces.py for what is measured."""
    check_critical_path(changed)
