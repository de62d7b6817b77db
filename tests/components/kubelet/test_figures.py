"""What the kubelet looks up at scrape time: volumes and certificate lifetimes."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from pathlib import Path

import psutil
import pytest

from kubeglass.components.kubelet.figures import collect_certificates, collect_volumes, seconds_left
from kubeglass.components.kubelet.volumes import MountedVolume
from kubeglass.components.machinery import certs
from kubeglass.telemetry.metrics.registry import Registry


def test_claims_show_their_file_system(tmp_path: Path) -> None:
    """Capacity and use agree with an independent reader; a claim used twice is one series, others none."""
    registry = Registry()
    mounted = [
        MountedVolume("kubernetes.io/local-volume", "shop", "data", tmp_path),
        MountedVolume("kubernetes.io/local-volume", "shop", "data", tmp_path),
        MountedVolume("kubernetes.io/empty-dir", "shop", "", tmp_path),
        MountedVolume("kubernetes.io/local-volume", "shop", "gone", tmp_path / "gone"),
    ]
    collect_volumes(registry, lambda: mounted, lambda: [])
    labels = {"namespace": "shop", "persistentvolumeclaim": "data"}
    seen = psutil.disk_usage(str(tmp_path))
    assert registry.value("kubelet_volume_stats_capacity_bytes", **labels) == seen.total
    assert registry.value("kubelet_volume_stats_used_bytes", **labels) == pytest.approx(seen.used, rel=0.01)
    assert registry.value("kubelet_volume_stats_available_bytes", **labels) == pytest.approx(seen.free, rel=0.01)
    page = registry.expose()[1]
    assert page.count(b"kubelet_volume_stats_inodes{") == 1
    assert b'persistentvolumeclaim="gone"' not in page


def test_volumes_are_counted_by_plugin_and_state(tmp_path: Path) -> None:
    """What is mounted, and what the Pods ask for."""
    registry = Registry()
    mounted = [MountedVolume("kubernetes.io/secret", "shop", "", tmp_path)]
    collect_volumes(registry, lambda: mounted, lambda: ["kubernetes.io/secret"] * 2)
    for state, count in (("actual_state_of_world", 1), ("desired_state_of_world", 2)):
        labels = {"plugin_name": "kubernetes.io/secret", "state": state}
        assert registry.value("volume_manager_total_volumes", **labels) == count


def test_certificates_show_what_is_left_of_them(tmp_path: Path) -> None:
    """Seconds to expiry, negative after it, +Inf without a certificate."""
    now = datetime.now(UTC)
    authority = certs.new_authority("ca", now)
    leaf = certs.new_leaf(authority, "node", now, server=True, days=1)
    leaf.write(tmp_path / "tls.crt", tmp_path / "tls.key")
    expiry = leaf.certificate.not_valid_after_utc.timestamp()
    registry = Registry()
    collect_certificates(registry, lambda: str(tmp_path / "tls.crt"), str, lambda: expiry - 60)
    assert registry.value("kubelet_certificate_manager_server_ttl_seconds") == 60
    assert registry.value("kubelet_certificate_manager_client_ttl_seconds") == inf
    assert seconds_left(str(tmp_path / "tls.crt"), expiry + 5) == -5
