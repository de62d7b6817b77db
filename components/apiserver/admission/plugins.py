"""The plugins of a server in upstream's order (kubeapiserver/options/plugins.go), those that are on by default."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kubeglass.components.apiserver.admission import (
    certificates,
    limitranger,
    namespaces,
    noderestriction,
    pods,
    quota,
    serviceaccounts,
)
from kubeglass.components.apiserver.admission.certificates import MayUseSigner
from kubeglass.components.apiserver.admission.chain import Plugin
from kubeglass.components.apiserver.admission.pods import TolerationSeconds
from kubeglass.components.apiserver.admission.quota import Spend
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.webhooks import Webhooks

NOT_HERE = frozenset(
    {
        "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "ClusterTrustBundleAttest", "DefaultIngressClass",
        "DenyServiceExternalIPs",
        "EventRateLimit", "ExtendedResourceToleration", "ImagePolicyWebhook", "LimitPodHardAntiAffinityTopology",
        "MutatingAdmissionPolicy", "NamespaceAutoProvision", "NamespaceExists", "OwnerReferencesPermissionEnforcement",
        "PersistentVolumeClaimResize", "PodNodeSelector", "PodSecurity", "PodTolerationRestriction",
        "PodTopologyLabels", "RuntimeClass", "StorageObjectInUseProtection", "ValidatingAdmissionPolicy",
    }
)  # fmt: skip
"""Upstream's plugins that this server has none of: switching them off is true already, switching them on is refused."""


def check(known: Collection[str], enabled: Collection[str], disabled: Collection[str]) -> None:
    """Raises ValueError with upstream's words (k8s.io/apiserver/pkg/server/options/admission.go) for flags that cannot
    be obeyed. All plugins there are run already, so naming them in --enable-admission-plugins changes nothing.
    """
    both = sorted(set(enabled) & set(disabled))
    if both:
        raise ValueError(f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins overlapped")
    for flag, names in (("enable", enabled), ("disable", disabled)):
        for name in names:
            if name not in known and name not in NOT_HERE:
                raise ValueError(f'{flag}-admission-plugins plugin "{name}" is unknown')
    absent = [name for name in enabled if name in NOT_HERE]
    if absent:
        raise ValueError(f'enable-admission-plugins plugin "{absent[0]}" does not exist in kubeglass')


def default_plugins(
    reader: Reader,
    spend: Spend,
    may_use_signer: MayUseSigner,
    webhooks: Webhooks | None = None,
    disabled: Collection[str] = (),
    toleration_seconds: TolerationSeconds = TolerationSeconds(),
    enabled: Collection[str] = (),
) -> Sequence[Plugin]:
    """All plugins but the disabled ones. `spend` updates the status of a quota (quota.py). Raises ValueError."""
    ordered = [
        namespaces.plugin(reader),
        limitranger.plugin(reader),
        serviceaccounts.plugin(reader),
        noderestriction.plugin(),
        pods.taint_nodes(),
        pods.priority(reader),
        pods.default_tolerations(toleration_seconds),
        pods.default_storage_class(reader),
        certificates.approval(may_use_signer),
        certificates.signature(may_use_signer),
        certificates.subject_restriction(),
    ]
    if webhooks is not None:
        ordered += [webhooks.mutating(), webhooks.validating()]
    ordered.append(quota.plugin(reader, spend))
    check([plugin.name for plugin in ordered], enabled, disabled)
    return tuple(plugin for plugin in ordered if plugin.name not in disabled)
