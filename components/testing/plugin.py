"""The pytest fixtures that `pytest_plugins = ["kubeglass.testing"]` in a conftest.py brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeglass.components.cli.prometheus import find
from kubeglass.components.testing.alerts import WatchedAlert, watching
from kubeglass.components.testing.cluster import Cluster, running_cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own: real API server, controllers and scheduler, one simulated node."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def alert_rules() -> tuple[Path, ...]:
    """The rule files that `alert` knows; override it to test your own. Empty: those of kubeglass."""
    return ()


@pytest.fixture
def alert(cluster: Cluster, alert_rules: tuple[Path, ...]) -> Iterator[Callable[..., WatchedAlert]]:
    """`alert("PodsUnschedulable", namespace="x").fires()`: a real Prometheus watches the test's cluster.

    Skips when there is no Prometheus on PATH.
    """
    if find("prometheus") is None:
        pytest.skip("needs a real Prometheus: apt-get install prometheus")
    with watching(cluster, alert_rules) as prometheus:
        yield prometheus.alert
