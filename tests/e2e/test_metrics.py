"""The metrics of a live cluster against upstream's table: nothing wrong, nothing invented, the first wave there.

One cluster lives through everything in data/events.yaml and through the requests below; then its pages are read.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.cluster import Cluster, cluster, eventually, ready_pods
from tests.e2e.families import Page
from tests.telemetry.metrics import lint, surface
from tests.telemetry.metrics.moments import Moments

DATA = Path(__file__).with_name("data")
OURS = re.compile(r"kubeglass_|python_")
CONTENTS: dict[str, list[str]] = yaml.safe_load((DATA / "contents.yaml").read_text())
AUDIT = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"

ELSEWHERE = {
    "apiserver_request_aborts_total": "a client that goes away amid its answer: test_moments of the apiserver",
    "apiserver_terminated_watchers_total": "a watcher too slow for its events: test_moments of the apiserver",
    "etcd_request_errors_total": "a store that fails: test_moments of the apiserver",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total": "another proxy mode: test_proxy_iptables",
    "cronjob_controller_job_creation_skew_duration_seconds": "a minute has to pass: test_moments of the controllers",
}
"""First-wave metrics whose series need what a healthy cluster cannot be made to do quickly, and who drives them."""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with an audit log that has seen the events."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(AUDIT)
    flags = [f"--audit-policy-file={folder}/policy.yaml", f"--audit-log-path={folder}/audit.log"]
    with cluster(*(word for flag in flags for word in ("--component-flag", f"apiserver={flag}"))) as running:
        running.kubectl("apply", "-f", str(DATA / "events.yaml"))
        _ask_for_trouble(running)
        _wait_for_events(running)
        yield running


def _ask_for_trouble(running: Cluster) -> None:
    """Requests that are refused, rejected, watched, streamed, deprecated."""
    for label in ("asks", "insists"):
        made = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": label, "labels": {"webhook": label}}}
        running.kubectl("create", "-n", "events", "-f", "-", input=json.dumps(made), check=label == "asks")
    for taken in ({"clusterIP": "127.127.0.1"}, {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}):
        spec = {"ports": [{"port": 80}], **taken}
        service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "refused"}, "spec": spec}
        running.kubectl("create", "-n", "events", "-f", "-", input=json.dumps(service), check=False)
    turned_away = ("-H", "Impersonate-User: turned-away", "-o", "/dev/null", "-w", "%{http_code}")
    eventually(lambda: running.curl("/api/v1/pods", *turned_away) == b"429", "the closed level to turn someone away")
    initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    running.curl(f"/api/v1/configmaps?watch=1&timeoutSeconds=1&{initial}")
    running.curl("/api/v1/endpoints")
    condition = {"type": "Available", "status": "False", "reason": "ServiceNotFound"}
    condition |= {"message": "gone", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    broken = json.dumps({"status": {"conditions": [condition]}})
    running.kubectl("patch", "apiservice", "v1.batch", "--subresource=status", "--type=merge", "-p", broken)


def _wait_for_events(running: Cluster) -> None:
    """Until the objects are where they are meant to go."""
    eventually(lambda: len(ready_pods(running.pods("app=web", "events"))) == 2, "the web Pods to be ready")

    def phase(name: str, wanted: str) -> bool:
        return bool(running.get("pod", name, "-n", "events")["status"]["phase"] == wanted)

    eventually(lambda: phase("greedy", "Failed"), "the greedy Pod to be evicted")
    eventually(lambda: phase("keeper", "Running"), "the Pod with the claim to run")
    running.kubectl("wait", "-n", "events", "--for=condition=complete", "job/once", "--timeout=30s")
    running.kubectl("wait", "-n", "events", "--for=condition=failed", "job/never", "--timeout=30s")
    running.kubectl("logs", "-n", "events", "deployment/web")
    running.kubectl("exec", "-n", "events", "keeper", "--", "true")
    livez = running.status()["components"]["proxy/" + running.items("nodes")[0]["metadata"]["name"]]["healthz"]
    running.curl(livez.replace("healthz", "livez"))
    eventually(lambda: "scheduler_plugin_execution_duration_seconds" in _timed(running), "plugins to be timed")
    running.kubectl("delete", "pods", "-n", "events", "-l", "app=nowhere", "--wait=false")


def _timed(running: Cluster) -> set[str]:
    """The scheduler's families, some cycles later: plugins are timed in one of ten."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "nowhere-", "namespace": "events", "labels": {"app": "nowhere"}},
        "spec": {"nodeSelector": {"nowhere": "yes"}, "containers": [{"name": "c", "image": "pause"}]},
    }
    many = {"apiVersion": "v1", "kind": "List", "items": [pod] * 20}
    running.kubectl("create", "-f", "-", input=json.dumps(many))
    url = running.status()["components"]["scheduler"]["metrics"][0]
    return Page("scheduler/metrics", running.curl(url, "-f", token=True).decode()).families()


@pytest.fixture(scope="module")
def pages(lived: Cluster) -> list[Page]:
    """Every metrics endpoint, read with the Prometheus token."""
    found = []
    for name, component in lived.status()["components"].items():
        for url in component["metrics"]:
            text = lived.curl(url, "-f", token=True).decode()
            found.append(Page(name.partition("/")[0] + "/" + url.split("/", 3)[3], text))
    return found


def _ours(pages: list[Page]) -> list[Page]:
    return [page for page in pages if page.endpoint.partition("/")[0] in surface.COMPONENTS]


def test_every_endpoint_of_a_component_is_there(pages: list[Page]) -> None:
    """/metrics and /metrics/slis everywhere, the scheduler's and the kubelet's own beside them."""
    expected = {endpoint for metric in surface.upstream() for endpoint in metric.endpoints}
    served = {page.endpoint for page in _ours(pages)}
    components = {endpoint for endpoint in expected if endpoint.partition("/")[0] in surface.COMPONENTS}
    assert components <= served


def test_no_family_is_invented(pages: list[Page]) -> None:
    """Under a name without our prefix there is only what upstream serves (possibly on another endpoint)."""
    names = {metric.name for metric in surface.upstream()}
    for page in _ours(pages):
        families = re.findall(r"^# TYPE (\S+)", page.text, re.MULTILINE)
        assert [name for name in families if name not in names and not OURS.match(name)] == [], page.endpoint


def test_families_are_upstreams(pages: list[Page]) -> None:
    """Type, level and labels of each family, and the bounds of each histogram."""
    for page in _ours(pages):
        page.assert_upstreams()


def test_the_first_wave_is_live(pages: list[Page]) -> None:
    """Everything dashboards and alerts read first shows samples, but for what other tests drive."""
    shown = {page.endpoint: page.families() for page in pages}
    missing = {
        metric.name
        for metric in surface.upstream()
        if metric.first_wave
        and (not metric.deprecated or metric.name == "apiserver_storage_objects")
        and not any(metric.name in shown.get(endpoint, ()) for endpoint in metric.endpoints)
    }
    assert missing - ELSEWHERE.keys() == set()


def test_nine_of_ten_applicable_metrics_are_live(pages: list[Page]) -> None:
    """Of what the document says is exposed, at least 90 % shows samples in this one cluster."""
    shown = {(page.endpoint, name) for page in pages for name in page.families()}
    exposed = [metric for metric in surface.upstream() if surface.match(metric) and not metric.deprecated]
    exposed = [metric for metric in exposed if metric.name not in surface.IPTABLES_MODE]
    live = [metric for metric in exposed if any((endpoint, metric.name) in shown for endpoint in metric.endpoints)]
    quiet = sorted({metric.name for metric in exposed} - {metric.name for metric in live})
    assert len(live) >= 0.9 * len(exposed), quiet


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_complains_of_accepted_names_only(pages: list[Page]) -> None:
    """Every page parses; what the linter dislikes are names that are not ours to choose."""
    found = {page.endpoint: lint.complaints(page.text.encode()) for page in pages}
    assert {endpoint: lines for endpoint, lines in found.items() if lines} == {}


def test_every_accepted_complaint_is_about_a_name_of_others() -> None:
    """Names we accept complaints about are upstream's, or those of the collector's span metrics."""
    names = {metric.name for metric in surface.upstream()}
    assert {name for name in lint.accepted() if name not in names and not name.startswith("traces_")} == set()


def _status_of(url: str, *identity: str) -> str:
    command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *identity, url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_strangers_read_nothing(lived: Cluster) -> None:
    """401 for a wrong token, 403 for nobody and for a user without the right: on every endpoint that knows users."""
    token = lived.kubectl("create", "token", "default", "-n", "events").strip()
    guarded = ("apiserver", "scheduler", "controller-manager", "kubelet")
    for name, component in lived.status()["components"].items():
        for url in component["metrics"] if name.partition("/")[0] in guarded else ():
            assert _status_of(url, "-H", "Authorization: Bearer nonsense") == "401", url
            assert _status_of(url, "-H", f"Authorization: Bearer {token}") == "403", url
            assert _status_of(url) in ("401", "403"), url
    assert b'"code":403' in lived.curl("/api/v1/pods", token=True).replace(b" ", b"")


def test_a_forbidden_path_is_answered_in_upstreams_words(lived: Cluster) -> None:
    """The Status of a path that is no resource, with its empty details."""
    answer = json.loads(lived.curl("/metrics", "-H", "Impersonate-User: somebody"))
    assert answer == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'forbidden: User "somebody" cannot get path "/metrics"',
        "reason": "Forbidden",
        "details": {},
        "code": 403,
    }


@pytest.mark.parametrize("endpoint", CONTENTS)
def test_special_endpoints_say_what_is_true(pages: list[Page], endpoint: str) -> None:
    """Pods that run appear under their names with values that can be right."""
    page = next(page.text for page in pages if page.endpoint == endpoint)
    missing = [row for row in CONTENTS[endpoint] if not _found(page, row)]
    assert missing == []


def _found(page: str, row: str) -> bool:
    """Whether some sample has this name, at least these labels, and this value."""
    name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (.+)", row).groups()  # type: ignore[union-attr]
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))
    for found in re.finditer(rf"^{name}(?:\{{(.*)\}})? (.+)$", page, re.MULTILINE):
        has = dict(re.findall(r'(\w+)="([^"]*)"', found[1] or ""))
        if re.fullmatch(value, found[2]) and all(re.fullmatch(p, has.get(key, "absent")) for key, p in wanted.items()):
            return True
    return False


def test_a_write_moves_its_metrics(lived: Cluster) -> None:
    """One create is counted once, seen from outside."""

    def count() -> float:
        page = lived.curl("/metrics", token=True).decode()
        pattern = r'^apiserver_request_total\{code="201",.*resource="configmaps",.*verb="POST",.*\} (\S+)$'
        return sum(map(float, re.findall(pattern, page, re.MULTILINE)))

    before = count()
    lived.kubectl("create", "configmap", "moves-metrics", "--from-literal=a=b")
    eventually(lambda: count() == before + 1, "the create to be counted")


CHANGE = """
kubeproxy_sync_proxy_rules_service_changes_total                                                    +
kubeproxy_sync_proxy_rules_endpoint_changes_total                                                   +
kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}                                 +
kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}                                 +
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"}                          +
kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}                              +
kubelet_http_requests_total{method="GET",path="containerLogs",server_type="readwrite"}              +1
kubelet_http_requests_duration_seconds_count{method="GET",path="containerLogs",long_running="false"} +1
kubelet_http_inflight_requests{method="GET",path="containerLogs"}                                   =0
rest_client_requests_total{code="201",method="POST"}                                                +
rest_client_request_duration_seconds_count{verb="POST"}                                             +
rest_client_request_size_bytes_count{verb="POST"}                                                   +
rest_client_response_size_bytes_count{verb="POST"}                                                  +
rest_client_rate_limiter_duration_seconds_count{verb="POST"}                                        +
workqueue_adds_total{name="endpoint_slice"}                                                         +
workqueue_unfinished_work_seconds{name="endpoint_slice"}                                            =0
workqueue_longest_running_processor_seconds{name="endpoint_slice"}                                  =0
leader_election_master_status{name="kube-scheduler"}                                                =1
leader_election_master_status{name="kube-controller-manager"}                                       =1
kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"}     =0
"""


def test_an_endpoint_change_travels_through_the_cluster(lived: Cluster) -> None:
    """A Service gets an endpoint: controllers, clients, proxy and, for a log, the kubelet each count their part."""
    components = lived.status()["components"]
    shown = ("controller-manager", "scheduler", "kubelet", "proxy")
    urls = [row["metrics"][0] for name, row in components.items() if name.partition("/")[0] in shown]
    moments = Moments.of_pages(lambda: (lived.curl(url, "-f", token=True).decode() for url in urls))
    lived.kubectl("logs", "-n", "events", "deployment/web", "--tail=1")
    name = f"fresh-{secrets.token_hex(3)}"
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
    lived.kubectl("apply", "-n", "events", "-f", "-", input=json.dumps(service))
    lived.kubectl("run", "-n", "events", name, "--image=registry.k8s.io/pause:3.10", f"--labels=app={name}")
    moments.wait_until_moved(CHANGE)


def test_every_process_says_what_it_is(pages: list[Page]) -> None:
    """The build of each component, as the version of the cluster."""
    for page in (page for page in _ours(pages) if page.endpoint.endswith("/metrics")):
        assert re.search(
            r'^kubernetes_build_info\{.*git_version="v1\.36\.\d+.*",.*minor="36".*\} 1$', page.text, re.MULTILINE
        )
