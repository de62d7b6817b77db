"""A whole cluster in a network namespace of its own, its Services carried by the kernel's rules."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import Cluster, cluster, eventually, ready_pods
from tests.e2e.families import Page
from tests.namespaces import iptables, own_network, saved_rules, skip_without_iptables
from tests.telemetry.metrics import surface
from tests.telemetry.metrics.moments import Moments

FLAGS = ("--proxy-mode=iptables", "--iptables-sync-period=2s", "--iptables-min-sync-period=100ms")
UP = tuple(word for flag in FLAGS for word in ("--component-flag", f"proxy={flag}"))


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    """Nothing here may touch the machine's own tables; a cluster that ends leaves none of ours in these."""
    skip_without_iptables()
    with own_network():
        yield
        assert "KUBE-" not in saved_rules()


@pytest.fixture(scope="module")
def carried(network: None) -> Iterator[Cluster]:
    """A cluster with two Pods and their Services `web` and, over UDP, `datagrams`."""
    with cluster(*UP) as running:
        running.kubectl("create", "deployment", "web", "--image=nginx:1.27", "--replicas=2")
        running.kubectl("expose", "deployment", "web", "--port=80", "--type=NodePort")
        running.kubectl("expose", "deployment", "web", "--port=53", "--protocol=UDP", "--name=datagrams")
        eventually(lambda: len(ready_pods(running.pods("app=web"))) == 2, "the web Pods to be ready")
        eventually(lambda: saved_rules().count('"default/web -> ') == 2, "both to have rules")
        yield running


def service(running: Cluster, name: str = "web") -> Any:
    return running.get("service", name)["spec"]


def proxy(running: Cluster) -> Any:
    """The proxy, as `status` tells of it."""
    [found] = [row for name, row in running.status()["components"].items() if name.startswith("proxy/")]
    return found


def get(url: str) -> str:
    return subprocess.run(["curl", "-sSf", "-m", "5", url], check=True, capture_output=True, text=True).stdout


def answers(url: str) -> bool:
    return subprocess.run(["curl", "-sf", "-m", "5", url], capture_output=True, check=False).returncode == 0


def test_the_kernel_carries_a_service(carried: Cluster) -> None:
    """The cluster IP and the node port answer, both Pods are asked, and no process listens on the address."""
    spec = service(carried)
    address, node = (spec["clusterIP"], 80), carried.items("nodes")[0]["status"]["addresses"][0]["address"]
    with socket.socket() as nobody_else:
        nobody_else.bind(address)
    for _ in range(20):
        assert "nginx" in get(f"http://{address[0]}/").lower()
    assert "nginx" in get(f"http://{node}:{spec['ports'][0]['nodePort']}/").lower()
    counted = subprocess.run(["iptables-save", "-c", "-t", "nat"], check=True, capture_output=True, text=True).stdout
    packets = re.findall(r"\[(\d+):\d+\] -A KUBE-SEP-\w+ -p tcp .*default/web.* -j DNAT", counted)
    assert len(packets) == 2
    assert all(int(number) > 0 for number in packets)
    assert sum(map(int, packets)) == 21


def test_the_mode_is_told(carried: Cluster) -> None:
    """On /proxyMode, and by the spans of its syncs."""
    base = proxy(carried)["metrics"][0].removesuffix("/metrics")
    assert get(f"{base}/proxyMode") == "iptables"

    def modes() -> set[str]:
        query = carried.status()["collector"]["query"]
        found = json.loads(get(f"{query}/api/traces?service=kube-proxy&limit=50"))["data"]
        spans = [span for trace in found for span in trace["spans"] if span["operationName"] == "sync proxy rules"]
        return {tag["value"] for span in spans for tag in span["tags"] if tag["key"] == "proxy.mode"}

    eventually(lambda: modes() == {"iptables"}, "its spans to be stored")


FAILED = """
kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}          +
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"}  +1
kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}                   +
"""
RECOVERED = """
kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}              +
kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}                   +
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"}  +0
"""


def test_the_metrics_of_the_mode_are_upstreams(carried: Cluster) -> None:
    """A restore that fails moves its counters, repeats itself and recovers; then every row of the mode is there."""
    url = proxy(carried)["metrics"][0]
    carried.kubectl("create", "deployment", "brief", "--image=nginx:1.27")
    carried.kubectl("expose", "deployment", "brief", "--port=80")
    rule = r"-A (KUBE-SVC-\w+) .*\"default/brief -> "
    chain = eventually(lambda: re.search(rule, saved_rules()), "brief to have an endpoint")[1]
    iptables("-t", "nat", "-A", "OUTPUT", "-d", "192.0.2.1", "-j", chain)  # somebody uses what is to go
    moments = Moments.of_pages(lambda: iter((get(url),)))
    carried.kubectl("delete", "service", "brief")
    moments.wait_until_moved(FAILED)
    moments = Moments.of_pages(lambda: iter((get(url),)))
    iptables("-t", "nat", "-D", "OUTPUT", "-d", "192.0.2.1", "-j", chain)
    moments.wait_until_moved(RECOVERED)
    eventually(lambda: chain not in saved_rules(), "the chain to go")
    page = Page("proxy/metrics", get(url))
    page.assert_upstreams()
    assert surface.IPTABLES_MODE - page.families() == set()
    [total] = re.findall(r'^kubeproxy_sync_proxy_rules_iptables_total\{.*table="nat"\} (\d+)$', page.text, re.MULTILINE)
    nat = saved_rules().partition("*nat\n")[2].partition("COMMIT")[0]
    assert int(total) == sum(line.startswith("-A KUBE-") and "CANARY" not in line for line in nat.splitlines())


def test_flushed_tables_are_written_again(carried: Cluster) -> None:
    """Within a sync period, without anything changing in the cluster."""
    url = f"http://{service(carried)['clusterIP']}/"
    iptables("-t", "nat", "-F")
    assert not answers(url)
    eventually(lambda: answers(url), "the rules to be back", 20)


def test_a_second_node_is_refused(carried: Cluster, tmp_path: Path) -> None:
    """One proxy per network namespace; the other one says so, and what to do."""
    second = Cluster(tmp_path)
    try:
        up = second.kubeglass("up", "--detach", "--ports", "auto", *UP, check=False)
        assert up.returncode != 0
        assert "another kubeglass proxy writes the iptables rules of this network namespace" in up.stdout + up.stderr
        assert "unshare -n" in up.stdout + up.stderr
    finally:
        second.kubeglass("down", check=False)
    assert get(f"http://{service(carried)['clusterIP']}/")


def test_rules_of_a_killed_proxy_serve_on_until_they_are_cleaned_up(carried: Cluster) -> None:
    """`kubeglass proxy --cleanup` removes them, `up` brings the proxy and its rules back."""
    cleanup = (sys.executable, "-m", "kubeglass", "proxy", "--cleanup")
    refused = carried.command(*cleanup)
    assert (refused.returncode, "another kubeglass proxy" in refused.stderr) == (1, True)
    killed = proxy(carried)["pid"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{killed}").exists(), "the proxy to be gone")
    assert get(f"http://{service(carried)['clusterIP']}/")
    done = carried.command(*cleanup)
    assert done.returncode == 0, done.stderr
    assert "KUBE-" not in saved_rules()
    carried.kubeglass("up", "--detach")
    eventually(lambda: saved_rules().count('"default/web -> ') == 2, "the rules to be back")
    assert get(f"http://{service(carried)['clusterIP']}/")
