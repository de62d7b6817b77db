"""What the kubelet's /metrics looks up only when somebody scrapes: volumes on the node, and certificate lifetimes.

Follows k8s.io/kubernetes/pkg/kubelet/{metrics/collectors,volumemanager/metrics,certificate}.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import Path

from cryptography import x509

from kubeglass.components.kubelet import metrics as rows
from kubeglass.components.kubelet.runtime.procstats import directory_bytes
from kubeglass.components.kubelet.volumes import MountedVolume
from kubeglass.telemetry.metrics.definitions import Gauge
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.instruments import HistogramInstrument
from kubeglass.telemetry.metrics.registry import Registry


def collect_volumes(
    registry: Registry, mounted: Callable[[], Iterable[MountedVolume]], wanted: Callable[[], Iterable[str]]
) -> None:
    """Show the claims mounted on the node, and its volumes by plugin: mounted ones and `wanted` ones (plugin names)."""
    measuring = rows.VolumeMetrics(registry).volume_metric_collection_duration_seconds
    registry.collect(rows.VOLUME_STATS_ROWS, lambda: claim_samples(mounted(), measuring))
    registry.collect(rows.VOLUME_MANAGER_ROWS, lambda: volume_samples(mounted(), wanted()))


def claim_samples(mounted: Iterable[MountedVolume], measuring: HistogramInstrument) -> Iterator[Sample]:
    """What statfs says of the file system behind each claim; a claim that several Pods use counts once."""
    claims = {(volume.namespace, volume.claim): volume for volume in mounted if volume.claim}
    for labels, volume in claims.items():
        started = time.perf_counter()
        try:
            found = os.statvfs(volume.path)
        except OSError:
            continue  # unmounted since
        finally:
            measuring.labels(volume.plugin).observe(time.perf_counter() - started)
        size = found.f_frsize
        yield rows.VOLUME_STATS_CAPACITY_BYTES, labels, found.f_blocks * size
        yield rows.VOLUME_STATS_AVAILABLE_BYTES, labels, found.f_bavail * size
        yield rows.VOLUME_STATS_USED_BYTES, labels, (found.f_blocks - found.f_bfree) * size
        yield rows.VOLUME_STATS_INODES, labels, found.f_files
        yield rows.VOLUME_STATS_INODES_FREE, labels, found.f_ffree
        yield rows.VOLUME_STATS_INODES_USED, labels, found.f_files - found.f_ffree


def volume_samples(mounted: Iterable[MountedVolume], wanted: Iterable[str]) -> Iterator[Sample]:
    """Volumes by plugin and state."""
    counts = {
        "actual_state_of_world": Counter(volume.plugin for volume in mounted),
        "desired_state_of_world": Counter(wanted),
    }
    for state, by_plugin in counts.items():
        for plugin, count in by_plugin.items():
            yield rows.VOLUME_MANAGER_TOTAL_VOLUMES, (plugin, state), count


def collect_logs(registry: Registry, logs: Path) -> None:
    """Show the bytes of each container's logs, kept below `logs`/NAMESPACE_POD_UID/CONTAINER."""
    registry.collect(rows.LOG_ROWS, lambda: log_samples(logs))


def log_samples(logs: Path) -> Iterator[Sample]:
    """One sample per container that has ever logged and whose pod is not gone yet."""
    for pod in logs.glob("*_*_*"):
        namespace, name, uid = pod.name.split("_", 2)
        for container in pod.iterdir():
            labels = (uid, namespace, name, container.name)
            yield rows.CONTAINER_LOG_FILESYSTEM_USED_BYTES, labels, directory_bytes(container)


def collect_certificates(
    registry: Registry, serving_file: Callable[[], str], client_file: Callable[[], str], now: Callable[[], float]
) -> None:
    """Show how long the kubelet's two certificates still live; files are read anew, since they may be renewed."""
    files: dict[Gauge, Callable[[], str]] = {
        rows.CERTIFICATE_MANAGER_SERVER_TTL_SECONDS: serving_file,
        rows.CERTIFICATE_MANAGER_CLIENT_TTL_SECONDS: client_file,
    }
    registry.collect(
        rows.CERTIFICATE_TTL_ROWS,
        lambda: [(row, (), seconds_left(file(), now())) for row, file in files.items()],
    )


def seconds_left(file: str, now: float) -> float:
    """Seconds until the certificate in `file` expires, negative afterwards, +Inf without one."""
    if not file or not Path(file).exists():
        return inf
    certificate = x509.load_pem_x509_certificate(Path(file).read_bytes())
    return certificate.not_valid_after_utc.timestamp() - now
