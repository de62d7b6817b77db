"""A cluster shows itself: a real Prometheus scrapes it, a change can be followed by its trace id."""

import json
import secrets
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
from tests.e2e.cluster import Cluster, eventually
from tests.telemetry.metrics import lint

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a real Prometheus: apt-get install prometheus"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(url: str):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def prometheus(one_node: Cluster, tmp_path_factory):
    """A real Prometheus on the generated configuration; its URL."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(one_node.kubeglass("prometheus-config").stdout)
    checked = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
        ],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
    )
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(30)


@needs_prometheus
def test_every_target_is_up(one_node, prometheus):
    """Prometheus, started with what `prometheus-config` prints, scrapes every endpoint."""

    def all_up():
        try:
            targets = fetch(f"{prometheus}/api/v1/targets?state=active")["data"]["activeTargets"]
        except urllib.error.URLError:
            return None  # not listening yet
        bad = {target["scrapeUrl"]: target["lastError"] for target in targets if target["health"] != "up"}
        assert not bad, bad
        return targets

    targets = eventually(all_up, "all targets are up", 60)
    scraped = {target["scrapeUrl"] for target in targets}
    served = {url for component in one_node.status()["components"].values() for url in component["metrics"]}
    assert scraped == served


@needs_prometheus
def test_promtool_accepts_every_endpoint(one_node):
    """`promtool check metrics` has nothing to say about any endpoint, but of names that are others'."""
    urls = [url for component in one_node.status()["components"].values() for url in component["metrics"]]
    found = {url: lint.complaints(one_node.curl(url, "--fail", token=True)) for url in urls}
    assert {url: lines for url, lines in found.items() if lines} == {}


@needs_prometheus
def test_exemplars_lead_to_their_traces(one_node, prometheus):
    """Prometheus stores the exemplars of latencies; each trace id among them is a trace in the collector."""
    query = one_node.status()["collector"]["query"]
    selector = urllib.parse.quote("apiserver_request_duration_seconds_bucket")

    def exemplars():
        one_node.kubectl("get", "configmaps", "-A")
        found = fetch(f"{prometheus}/api/v1/query_exemplars?query={selector}&start=0&end=9999999999")["data"]
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    ids = eventually(exemplars, "Prometheus has exemplars", 60)

    def unknown():
        return [trace_id for trace_id in ids if not known(f"{query}/api/traces/{trace_id}")]

    eventually(lambda: not unknown(), f"the collector knows all of {ids}", 30)


def known(url: str) -> bool:
    try:
        return bool(fetch(url)["data"])
    except urllib.error.HTTPError:
        return False


def test_the_prometheus_token_reads_metrics_and_nothing_else(one_node):
    """With the token every metrics endpoint answers 200, and objects are forbidden."""
    assert json.loads(one_node.curl("/api/v1/secrets", token=True))["code"] == 403
    for component in one_node.status()["components"].values():
        for metrics in component["metrics"]:
            code = one_node.curl(metrics, "-o", "/dev/null", "-w", "%{http_code}", token=True)
            assert (metrics, code) == (metrics, b"200")


def test_a_change_can_be_followed_by_its_trace_id(one_node):
    """The trace id of the request that created a Pod leads to that request's span in the collector."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "traced-"},
        "spec": {"containers": [{"name": "a", "image": "registry.k8s.io/pause:3.10"}]},
    }
    trace_id = secrets.token_hex(16)
    one_node.curl(
        "/api/v1/namespaces/default/pods",
        "--fail",
        *("-H", "Content-Type: application/json"),
        *("-H", f"traceparent: 00-{trace_id}-00f067aa0ba902b7-01"),
        *("-d", json.dumps(manifest)),
    )
    query = one_node.status()["collector"]["query"]

    def names():
        try:
            return {span["operationName"] for span in fetch(f"{query}/api/traces/{trace_id}")["data"][0]["spans"]}
        except urllib.error.HTTPError:
            return set()

    wanted = "POST /api/v1/namespaces/{:namespace}/pods"
    eventually(lambda: wanted in names(), "the collector has the request's span", 30)
    assert "apiserver" in fetch(f"{query}/api/services")["data"]
