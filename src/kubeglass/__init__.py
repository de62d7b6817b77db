"""kubeglass: a Kubernetes you can see through.

This package is one import root over four top-level folders (components, telemetry,
logging, collector), which are linked in here; see docs/architecture.md.
"""

__version__ = "0.1.0"

KUBERNETES_VERSION = "v1.36.2"
"""The upstream release whose surfaces are emulated."""

GIT_VERSION = f"{KUBERNETES_VERSION}+kubeglass"
"""What /version and kubernetes_build_info report as gitVersion."""
