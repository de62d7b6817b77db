"""Clusters for tests, in the test's own process. In conftest.py: `pytest_plugins = ["kubeglass.testing"]`.

def test_my_operator(cluster):
    cluster.apply(Path("deployment.yaml"))
    cluster.ready("deployments", "web")
    assert cluster.metrics.total("apiserver_request_total", verb="APPLY") == 1
"""

from kubeglass.components.testing.cluster import Cluster, running_cluster
from kubeglass.components.testing.plugin import alert, alert_rules, cluster

__all__ = ["Cluster", "alert", "alert_rules", "cluster", "running_cluster"]
