"""What every namespace gets: the default ServiceAccount, and the ConfigMap with the cluster's root certificate.

Upstream: serviceaccount-controller and root-ca-certificate-publisher-controller.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT
from kubeglass.components.api.objects import ConfigMap, Namespace, ServiceAccount
from kubeglass.components.controllers.actions import Create, Patch, Plan
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import RootCaMetrics
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def plan_account(namespace: Namespace, account: ServiceAccount | None) -> Plan:
    """A living namespace has its default account."""
    if account is not None or _ends(namespace):
        return Plan()
    metadata = {"name": DEFAULT_ACCOUNT, "namespace": namespace.metadata.name}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    return Plan((Create(SERVICE_ACCOUNT, body, ignore_existing=True),))


def plan_root_ca(namespace: Namespace, published: ConfigMap | None, certificate: str) -> Plan:
    """A living namespace has the root certificate, unchanged."""
    if _ends(namespace):
        return Plan()
    data = {"ca.crt": certificate}
    annotations = {"kubernetes.io/description": _DESCRIPTION}
    name = namespace.metadata.name
    if published is None:
        metadata = {"name": ROOT_CA, "namespace": name, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        return Plan((Create(CONFIG_MAP, body, ignore_existing=True),))
    if published.data == data and annotations.items() <= published.metadata.annotations.items():
        return Plan()
    patch = {"data": {**dict.fromkeys(published.data), **data}, "metadata": {"annotations": annotations}}
    return Plan((Patch(CONFIG_MAP, ROOT_CA, name, patch),))


def _ends(namespace: Namespace) -> bool:
    return bool(namespace.metadata.deletion_timestamp) or namespace.status.phase == "Terminating"


class ServiceAccountController:
    """Watches namespaces and ServiceAccounts."""

    name = "serviceaccount-controller"
    kind = NAMESPACE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._namespaces = context.informers.of(NAMESPACE, Namespace)
        self._accounts = context.informers.of(SERVICE_ACCOUNT, ServiceAccount)
        self.queue = context.queue("serviceaccount")
        self._namespaces.subscribe(lambda change: self.queue.add(change.key))
        self._accounts.subscribe(self._account_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        namespace = self._namespaces.get(key)
        if namespace is not None:
            account = self._accounts.get(f"{key}/{DEFAULT_ACCOUNT}")
            await self._writer.apply(plan_account(namespace, account).actions)
        return DONE

    def _account_changed(self, change: Change[ServiceAccount]) -> None:
        if change.type == "DELETED" and change.new.metadata.name == DEFAULT_ACCOUNT:
            self.queue.add(change.new.metadata.namespace)


class RootCaPublisher:
    """Watches namespaces and the published ConfigMaps. Publishes nothing without a certificate (--root-ca-file)."""

    name = "root-ca-certificate-publisher-controller"
    kind = NAMESPACE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = RootCaMetrics(context.telemetry.metrics)
        self._certificate = str(context.options["root_ca"])
        self._namespaces = context.informers.of(NAMESPACE, Namespace)
        self._published = context.informers.of(CONFIG_MAP, ConfigMap)
        self.queue = context.queue("root_ca_cert_publisher")
        self._namespaces.subscribe(lambda change: self.queue.add(change.key))
        self._published.subscribe(self._published_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        namespace = self._namespaces.get(key)
        if namespace is None or not self._certificate:
            return DONE
        started = time.perf_counter()
        code = "200"
        try:
            step = plan_root_ca(namespace, self._published.get(f"{key}/{ROOT_CA}"), self._certificate)
            await self._writer.apply(step.actions)
        except ApiError as error:
            code = str(error.status_code)
            raise
        finally:
            self._metrics.root_ca_cert_publisher_sync_total.labels(code).inc()
            self._metrics.root_ca_cert_publisher_sync_duration_seconds.labels(code).observe(
                time.perf_counter() - started
            )
        return DONE

    def _published_changed(self, change: Change[ConfigMap]) -> None:
        if change.new.metadata.name == ROOT_CA and change.type != "ADDED":
            self.queue.add(change.new.metadata.namespace)
