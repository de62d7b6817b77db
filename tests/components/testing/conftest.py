"""What `pytest_plugins = ["kubeglass.testing"]` does; pytest allows that line only in the outermost conftest.py."""

from kubeglass.testing import alert, alert_rules, cluster

__all__ = ["alert", "alert_rules", "cluster"]
