"""Dashboards, rules and provisioning for Prometheus and Grafana. Content, not part of the package."""
