"""The table of components: what `kubeglass NAME` runs, and what the launcher loads before it forks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeglass.components.machinery.process import ComponentSpec

MODULES: Mapping[str, str] = {
    "apiserver": "kubeglass.components.apiserver.apiserver",
    "scheduler": "kubeglass.components.scheduler.scheduler",
    "controller-manager": "kubeglass.components.controllers.controllers",
    "kubelet": "kubeglass.components.kubelet.kubelet",
    "simulated-kubelets": "kubeglass.components.kubelet.fleet.fleet",
    "proxy": "kubeglass.components.proxy.proxy",
    "state-metrics": "kubeglass.components.statemetrics.statemetrics",
    "dns": "kubeglass.components.dns.dns",
    "collector": "kubeglass.components.cli.collector",
}


def spec_of(name: str) -> ComponentSpec:
    """The row of one component; its module is loaded now."""
    spec: ComponentSpec = import_module(MODULES[name]).COMPONENT
    return spec
