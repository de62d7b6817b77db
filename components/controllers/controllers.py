"""kube-controller-manager: the table of controllers, their flags, and the process that runs them all."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, Protocol

from kubeglass.components.controllers.certificates import ApprovingController, CleanerController
from kubeglass.components.controllers.certificatesigning import DEFAULT_SECONDS, Authority, SigningController
from kubeglass.components.controllers.clusterroles import ClusterRoleAggregation
from kubeglass.components.controllers.context import ControllerContext, Informers
from kubeglass.components.controllers.cronjob import CronJobController
from kubeglass.components.controllers.daemonset import DaemonSetController
from kubeglass.components.controllers.deployment import DeploymentController
from kubeglass.components.controllers.disruption import DisruptionController
from kubeglass.components.controllers.endpoints import EndpointsController
from kubeglass.components.controllers.endpointslice import EndpointSliceController
from kubeglass.components.controllers.garbagecollector import GarbageCollector
from kubeglass.components.controllers.horizontalpodautoscaler import HorizontalPodAutoscalerController
from kubeglass.components.controllers.job import JobController
from kubeglass.components.controllers.localpath import PROVISIONER, LocalPathProvisioner
from kubeglass.components.controllers.metrics import ManagerMetrics
from kubeglass.components.controllers.namespace import NamespaceController
from kubeglass.components.controllers.nodeipam import NodeIpamController, Ranges
from kubeglass.components.controllers.nodelifecycle import NodeLifecycleController, Timing
from kubeglass.components.controllers.podgc import PodGarbageCollector
from kubeglass.components.controllers.replicaset import ReplicaSetController
from kubeglass.components.controllers.replicationcontroller import ReplicationControllerController
from kubeglass.components.controllers.resourcequota import ResourceQuotaController
from kubeglass.components.controllers.serviceaccount import RootCaPublisher, ServiceAccountController
from kubeglass.components.controllers.statefulset import StatefulSetController
from kubeglass.components.controllers.tainteviction import TaintEvictionController
from kubeglass.components.controllers.ttlafterfinished import TtlAfterFinishedController
from kubeglass.components.controllers.volumebinder import VolumeBinder
from kubeglass.components.controllers.volumeprotection import ClaimProtection, VolumeProtection
from kubeglass.components.controllers.writer import Writer
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.components.machinery.process import ComponentSpec, ConfigError, Context, seconds, start
from kubeglass.telemetry import Telemetry

MANAGER = "kube-controller-manager"


class Controller(Protocol):
    """One row of the table, built."""

    name: str

    async def run(self, started: Callable[[], None]) -> None:
        """Work until cancelled."""


@dataclass(frozen=True, slots=True)
class Row:
    """A controller and how it is built. A disabled one runs only when --controllers names it."""

    build: Callable[[ControllerContext], Controller]
    name: str
    event_source: str
    on_by_default: bool = True


_EVENT_SOURCES = {
    EndpointSliceController.name: "endpoint-slice-controller",
    EndpointsController.name: "endpoint-controller",
    NodeLifecycleController.name: "node-controller",
    NodeIpamController.name: "cidrAllocator",
    DisruptionController.name: "controllermanager",
    ReplicationControllerController.name: "replication-controller",
    VolumeBinder.name: "persistentvolume-controller",
    HorizontalPodAutoscalerController.name: "horizontal-pod-autoscaler",
    LocalPathProvisioner.name: PROVISIONER,
}
"""Whose word an Event is, where upstream does not name it like the controller."""

CONTROLLERS: tuple[Row, ...] = tuple(
    Row(controller, controller.name, _EVENT_SOURCES.get(controller.name, controller.name))
    for controller in (
        ServiceAccountController,
        RootCaPublisher,
        NamespaceController,
        NodeIpamController,
        NodeLifecycleController,
        TaintEvictionController,
        DeploymentController,
        ReplicaSetController,
        ReplicationControllerController,
        DaemonSetController,
        StatefulSetController,
        JobController,
        CronJobController,
        TtlAfterFinishedController,
        DisruptionController,
        HorizontalPodAutoscalerController,
        ResourceQuotaController,
        EndpointSliceController,
        EndpointsController,
        VolumeBinder,
        LocalPathProvisioner,
        ClaimProtection,
        VolumeProtection,
        ClusterRoleAggregation,
        SigningController,
        ApprovingController,
        CleanerController,
        PodGarbageCollector,
        GarbageCollector,
    )
)


def selected(names: Sequence[str], table: Sequence[Row] = CONTROLLERS) -> list[Row]:
    """The rows that `--controllers` asks for: `*` is all that are on by default, `-x` is all but x."""
    known = {row.name for row in table}
    unknown = [name for name in names if name != "*" and name.removeprefix("-") not in known]
    if unknown:
        raise ConfigError(f'"{unknown[0]}" is not in the list of known controllers')
    return [
        row
        for row in table
        if row.name in names or ("*" in names and row.on_by_default and f"-{row.name}" not in names)
    ]


class ControllerManager:
    """Runs the selected controllers over shared informers."""

    def __init__(
        self, client: Client, telemetry: Telemetry, options: Mapping[str, Any], rows: Sequence[Row] = CONTROLLERS
    ) -> None:
        self._telemetry = telemetry
        self._metrics = ManagerMetrics(telemetry.metrics)
        self._recorder = EventRecorder(client, MANAGER, telemetry)
        self._informers = Informers(client, telemetry)
        writer = Writer(client, self._recorder, telemetry, self._informers.known)
        context = ControllerContext(client, self._informers, writer, self._recorder, telemetry, options)
        self._controllers = [row.build(replace(context, writer=writer.speaking_as(row.event_source))) for row in rows]

    async def run(self, started: Callable[[], None]) -> None:
        """Work until cancelled; started once the informers are in step and every controller runs."""
        async with asyncio.TaskGroup() as group:
            await start(group, self._recorder.run, "events")
            await start(group, self._informers.run, "informers")
            for controller in self._controllers:
                await start(group, _Counted(controller, self._metrics).run, controller.name)
                self._telemetry.log.v(1).info("Started controller", controller=controller.name)
            started()


class _Counted:
    """A controller whose running is seen in running_managed_controllers."""

    def __init__(self, controller: Controller, metrics: ManagerMetrics) -> None:
        self._controller = controller
        self._running = metrics.running_managed_controllers.labels(controller.name, MANAGER)

    async def run(self, started: Callable[[], None]) -> None:
        self._running.set(1)
        try:
            await self._controller.run(started)
        finally:
            self._running.set(0)


# -- flags ------------------------------------------------------------------------------------------------------------


def default_options(**changes: Any) -> dict[str, Any]:
    """What controllers read, as the flags' defaults give it."""
    defaults: dict[str, Any] = {
        "root_ca": "",
        "cluster_signing_files": ("", ""),
        "cluster_signing_seconds": DEFAULT_SECONDS,
        "node_timing": Timing(),
        "pod_ranges": None,
        "terminated_pod_threshold": 12500,
        "local_path_root": "",
    }
    return {**defaults, **changes}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    timing = Timing()
    add = parser.add_argument
    add("--controllers", default="*", metavar="NAMES", help="comma-separated; * is all, -name is all but that one")
    add("--root-ca-file", default="", metavar="FILE", help="published to every namespace as kube-root-ca.crt")
    add("--cluster-signing-cert-file", default="", metavar="FILE", help="authority that signs certificate requests")
    add("--cluster-signing-key-file", default="", metavar="FILE", help="its key; without both nothing is signed")
    add(
        "--cluster-signing-duration",
        type=seconds,
        default=DEFAULT_SECONDS,
        metavar="DURATION",
        help="the longest life of a signed certificate (8760h0m0s)",
    )
    add(
        "--service-account-private-key-file",
        default="",
        metavar="FILE",
        help="accepted as upstream's flag; the API server issues every token",
    )
    add(
        "--local-path-root-dir",
        default="",
        metavar="DIR",
        help="where volumes of the default StorageClass lie, at DIR/NODE/volumes; without it there is no such class",
    )
    add("--cluster-cidr", default="", metavar="CIDR", help="range that nodes' Pod ranges come from")
    add("--node-cidr-mask-size", type=int, default=24, metavar="N", help="size of a node's Pod range (%(default)s)")
    add("--terminated-pod-gc-threshold", type=int, default=12500, metavar="N", help="finished Pods kept (%(default)s)")
    add("--large-cluster-size-threshold", type=int, default=timing.large_cluster_size, metavar="N")
    for flag, value in (
        ("--node-monitor-period", timing.monitor_period_seconds),
        ("--node-monitor-grace-period", timing.monitor_grace_period_seconds),
        ("--node-startup-grace-period", timing.startup_grace_period_seconds),
    ):
        add(flag, type=seconds, default=value, metavar="DURATION", help="(%(default)ss)")
    for flag, rate in (
        ("--node-eviction-rate", timing.eviction_rate),
        ("--secondary-node-eviction-rate", timing.secondary_eviction_rate),
        ("--unhealthy-zone-threshold", timing.unhealthy_zone_threshold),
    ):
        add(flag, type=float, default=rate, metavar="NUMBER", help="(%(default)s)")


def options_from(flags: argparse.Namespace) -> dict[str, Any]:
    """The controllers' options. Raises ConfigError."""
    timing = Timing(
        flags.node_monitor_period,
        flags.node_monitor_grace_period,
        flags.node_startup_grace_period,
        flags.node_eviction_rate,
        flags.secondary_node_eviction_rate,
        flags.unhealthy_zone_threshold,
        flags.large_cluster_size_threshold,
    )
    return default_options(
        root_ca=_read(flags.root_ca_file),
        cluster_signing_files=_signing_files(flags.cluster_signing_cert_file, flags.cluster_signing_key_file),
        cluster_signing_seconds=flags.cluster_signing_duration,
        node_timing=timing,
        pod_ranges=_ranges(flags.cluster_cidr, flags.node_cidr_mask_size),
        terminated_pod_threshold=flags.terminated_pod_gc_threshold,
        local_path_root=flags.local_path_root_dir,
    )


def _read(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"error reading root-ca-file at {path}: {error.strerror}") from error


def _signing_files(certificate: str, key: str) -> tuple[str, str]:
    """Both or none, and readable now; they are read anew for each signature."""
    if bool(certificate) != bool(key):
        raise ConfigError("need both --cluster-signing-cert-file and --cluster-signing-key-file")
    if certificate:
        try:
            Authority.read(certificate, key)
        except (OSError, ValueError) as error:
            raise ConfigError(f"error reading the cluster signing authority {certificate}: {error}") from error
    return certificate, key


def _ranges(cidr: str, mask_size: int) -> Ranges | None:
    if not cidr:
        return None
    try:
        network = ip_network(cidr)
        if not isinstance(network, IPv4Network):
            raise ValueError(f"{cidr} is not an IPv4 range")
        return Ranges(network, mask_size)
    except ValueError as error:
        raise ConfigError(f"invalid --cluster-cidr: {error}") from error


def _build(context: Context) -> ControllerManager:
    rows = selected([name.strip() for name in context.flags.controllers.split(",") if name.strip()])
    return ControllerManager(context.client(), context.telemetry, options_from(context.flags), rows)


COMPONENT = ComponentSpec(
    name="controller-manager",
    binary=MANAGER,
    summary="Runs the controllers: each watches some objects and makes the cluster what they ask for.",
    add_flags=_add_flags,
    build=_build,
    secure_port=10257,
    leader_election=True,
)
