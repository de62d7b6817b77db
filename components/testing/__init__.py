"""Clusters for tests, inside the test's process: `kubeglass.testing` is the public door to this package."""
