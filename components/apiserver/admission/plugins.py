"""The plugins of a server in upstream's order (kubeapiserver/options/plugins.go), those that are on by default."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kubeglass.components.apiserver.admission import (
    limitranger,
    namespaces,
    noderestriction,
    pods,
    quota,
    serviceaccounts,
)
from kubeglass.components.apiserver.admission.chain import Plugin
from kubeglass.components.apiserver.admission.pods import TolerationSeconds
from kubeglass.components.apiserver.admission.quota import Spend
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.webhooks import Webhooks


def default_plugins(
    reader: Reader,
    spend: Spend,
    webhooks: Webhooks | None = None,
    disabled: Collection[str] = (),
    toleration_seconds: TolerationSeconds = TolerationSeconds(),
) -> Sequence[Plugin]:
    """All plugins but the disabled ones. `spend` updates a quota's status; see quota.py."""
    ordered = [
        namespaces.plugin(reader),
        limitranger.plugin(reader),
        serviceaccounts.plugin(reader),
        noderestriction.plugin(),
        pods.taint_nodes(),
        pods.priority(reader),
        pods.default_tolerations(toleration_seconds),
        pods.default_storage_class(reader),
    ]
    if webhooks is not None:
        ordered += [webhooks.mutating(), webhooks.validating()]
    ordered.append(quota.plugin(reader, spend))
    return tuple(plugin for plugin in ordered if plugin.name not in disabled)
