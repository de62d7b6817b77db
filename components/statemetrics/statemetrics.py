"""state-metrics: follows every kind it has metrics about and computes them when it is scraped.

Objects on one address, the component's own metrics on another, as kube-state-metrics does.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds, objects
from kubeglass.components.api.kinds import Kind
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.process import ComponentSpec, Context
from kubeglass.components.statemetrics import cluster, workloads
from kubeglass.components.statemetrics.pods import POD as POD_LABELS
from kubeglass.components.statemetrics.pods import PODS
from kubeglass.components.statemetrics.writing import Family
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.metrics.definitions import NONE, Counter, Gauge, Metric
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Pages

LIST_TOTAL = Counter(
    "kube_state_metrics_list_total",
    "Number of total resource list in kube-state-metrics",
    ("resource", "result"),
    stability=NONE,
)
WATCH_TOTAL = Counter(
    "kube_state_metrics_watch_total",
    "Number of total resource watch calls in kube-state-metrics",
    ("resource", "result"),
    stability=NONE,
)
SHARD_ORDINAL = Gauge(
    "kube_state_metrics_shard_ordinal",
    "Current sharding ordinal/index of this instance",
    ("shard_ordinal",),
    stability=NONE,
)
TOTAL_SHARDS = Gauge(
    "kube_state_metrics_total_shards", "Number of total shards this instance is aware of", stability=NONE
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, the view it is read as, its metrics, and how an object is named in them."""

    kind: Kind
    view: type[Any]
    families: Sequence[Family]
    identify: Callable[[Any], tuple[str, ...]]


def _named(obj: Any) -> tuple[str, ...]:
    return (obj.metadata.namespace, obj.metadata.name)


def _named_uid(obj: Any) -> tuple[str, ...]:
    return (obj.metadata.namespace, obj.metadata.name, obj.metadata.uid)


def _global(obj: Any) -> tuple[str, ...]:
    return (obj.metadata.name,)


def _slice(obj: Any) -> tuple[str, ...]:
    return (obj.metadata.name, obj.metadata.namespace)


RESOURCES: tuple[Resource, ...] = (
    Resource(kinds.POD, objects.Pod, PODS, POD_LABELS.identify),
    Resource(kinds.NODE, objects.Node, cluster.NODES, _global),
    Resource(kinds.NAMESPACE, objects.Namespace, cluster.NAMESPACES, _global),
    Resource(kinds.DEPLOYMENT, objects.Deployment, workloads.DEPLOYMENTS, _named),
    Resource(kinds.REPLICA_SET, objects.ReplicaSet, workloads.REPLICA_SETS, _named),
    Resource(kinds.STATEFUL_SET, objects.StatefulSet, workloads.STATEFUL_SETS, _named),
    Resource(kinds.DAEMON_SET, objects.DaemonSet, workloads.DAEMON_SETS, _named),
    Resource(kinds.JOB, objects.Job, workloads.JOBS, _named),
    Resource(kinds.CRON_JOB, objects.CronJob, workloads.CRON_JOBS, _named),
    Resource(kinds.HORIZONTAL_POD_AUTOSCALER, objects.HorizontalPodAutoscaler, workloads.AUTOSCALERS, _named),
    Resource(kinds.POD_DISRUPTION_BUDGET, objects.PodDisruptionBudget, workloads.BUDGETS, _named),
    Resource(kinds.REPLICATION_CONTROLLER, objects.ReplicationController, workloads.REPLICATION_CONTROLLERS, _named),
    Resource(kinds.SERVICE, objects.Service, cluster.SERVICES, _named_uid),
    Resource(kinds.ENDPOINTS, objects.Endpoints, cluster.ENDPOINTS, _named),
    Resource(kinds.ENDPOINT_SLICE, objects.EndpointSlice, cluster.ENDPOINT_SLICES, _slice),
    Resource(kinds.PERSISTENT_VOLUME_CLAIM, objects.PersistentVolumeClaim, cluster.CLAIMS, _named),
    Resource(kinds.PERSISTENT_VOLUME, objects.PersistentVolume, cluster.VOLUMES, _global),
    Resource(kinds.RESOURCE_QUOTA, objects.ResourceQuota, cluster.QUOTAS, _named),
    Resource(kinds.CONFIG_MAP, objects.ConfigMap, cluster.CONFIG_MAPS, _named),
    Resource(kinds.SECRET, objects.Secret, cluster.SECRETS, _named),
    Resource(kinds.SERVICE_ACCOUNT, objects.ServiceAccount, cluster.SERVICE_ACCOUNTS, _named_uid),
    Resource(kinds.LEASE, objects.Lease, cluster.LEASES, _global),
    Resource(kinds.STORAGE_CLASS, objects.StorageClass, cluster.STORAGE_CLASSES, _global),
    Resource(kinds.INGRESS, objects.Ingress, cluster.INGRESSES, _named),
    Resource(kinds.NETWORK_POLICY, objects.NetworkPolicy, cluster.NETWORK_POLICIES, _named),
)


def samples(
    resource: Resource, listed: Sequence[Any], clean: Callable[[str], str] = str
) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
    """Every sample about the objects of one kind. `clean` is asked about labels that are URLs."""
    for obj in listed:
        identity = resource.identify(obj)
        for family in resource.families:
            for labels, value in family.read(obj):
                shown = [clean(label) if "://" in label else label for label in labels]
                yield family.row, (*identity, *shown), value


class StateMetrics:
    """The component."""

    def __init__(
        self,
        client: Client,
        telemetry: Telemetry,
        *,
        object_registry: Registry,
        object_pages: Pages,
        own_pages: Pages,
        address: tuple[str, int],
        own_address: tuple[str, int],
    ) -> None:
        self._telemetry = telemetry
        self._object_pages, self._own_pages = object_pages, own_pages
        self._address, self._own_address = address, own_address
        self._lists = telemetry.metrics.bind(LIST_TOTAL)
        self._watches = telemetry.metrics.bind(WATCH_TOTAL)
        telemetry.metrics.bind(SHARD_ORDINAL).labels("0").set(0)
        telemetry.metrics.bind(TOTAL_SHARDS).set(1)
        self._informers: list[tuple[Resource, Informer[Any]]] = [
            (resource, self._informer(client, resource)) for resource in RESOURCES
        ]
        for resource, informer in self._informers:
            self._collect(object_registry, resource, informer)

    def _informer(self, client: Client, resource: Resource) -> Informer[Any]:
        """An informer whose every LIST and WATCH is counted."""
        calls = {"list": self._lists, "watch": self._watches}
        label = f"*v1.{resource.kind.kind}"

        def observe(verb: str, taken: bool) -> None:
            calls[verb].labels(label, "success" if taken else "error").inc()

        return Informer(client, resource.kind, resource.view, self._telemetry, observer=observe)

    def _collect(self, registry: Registry, resource: Resource, informer: Informer[Any]) -> None:
        rows = [family.row for family in resource.families]
        registry.collect(rows, lambda: samples(resource, informer.list(), self._telemetry.sanitizer.text))

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with (
            serve(self._object_pages, *self._address),
            serve(self._own_pages, *self._own_address),
            asyncio.TaskGroup() as group,
        ):
            for resource, informer in self._informers:
                group.create_task(informer.run(), name=f"informer-{resource.kind.plural}")
            for _, informer in self._informers:
                await informer.synced.wait()
            started()


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", metavar="IP", help="address of the metrics about objects (%(default)s)")
    add("--port", type=int, default=8080, metavar="PORT", help="(%(default)s)")
    add("--telemetry-host", default="127.0.0.1", metavar="IP", help="address of the own metrics (%(default)s)")
    add("--telemetry-port", type=int, default=8081, metavar="PORT", help="(%(default)s)")


def _build(context: Context) -> StateMetrics:
    flags, registry = context.flags, context.telemetry.metrics.companion()
    return StateMetrics(
        context.client(),
        context.telemetry,
        object_registry=registry,
        object_pages=context.pages(registries={"/metrics": registry}),
        own_pages=context.pages(),
        address=(flags.host, flags.port),
        own_address=(flags.telemetry_host, flags.telemetry_port),
    )


COMPONENT = ComponentSpec(
    name="state-metrics",
    binary="kube-state-metrics",
    summary="Metrics about the objects of the cluster.",
    add_flags=_add_flags,
    build=_build,
)
