"""What a new user sees: the console and Prometheus over a real cluster, in a real browser.

`make screenshots` keeps the pictures in docs/images; otherwise they go to a temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from tests.e2e.cluster import ROOT, Cluster, cluster, eventually
from tests.e2e.prometheus import Prometheus

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WIDTH, HEIGHT = 1200, 760
MOST_BYTES = 200_000
BROKEN = """
apiVersion: v1
kind: Pod
metadata: {name: unpullable}
spec:
  containers: [{name: web, image: "registry.example/no-such-image:1"}]
"""

WITHOUT_FOLDERS = r"""() => document.querySelectorAll("td").forEach((cell) => {
  if (/^\s*\/\S+\/rules\//.test(cell.textContent)) cell.textContent = cell.textContent.replace(/^\s*\S+\/rules\//, "");
})"""
"""Where this machine keeps its rules does not belong in a picture."""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a real browser: apt-get install chromium"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus"),
]


@pytest.fixture(scope="module")
def watched() -> Iterator[Cluster]:
    """The example, as `make up` applies it, in a cluster with Prometheus; and a Pod that cannot start."""
    with cluster("--prometheus") as running:
        running.kubectl("apply", "-f", str(ROOT / "examples/nginx-app.yaml"))
        running.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
        running.kubectl("apply", "-f", "-", input=BROKEN)
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page; the console must not make an error in it (Prometheus's classic pages do)."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(f"{opened.url}: {error}"))
        yield opened
        browser.close()
        assert [error for error in errors if "/classic/" not in error] == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("KUBEGLASS_SCREENSHOTS")
    return ROOT / wanted if wanted else tmp_path_factory.mktemp("pictures")


def keep(page: Page, file: Path, height: int = HEIGHT) -> None:
    """Take the picture: of the window's size, small enough for a repository, and not of an empty page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": WIDTH, "height": height})
    data = page.screenshot(path=file, animations="disabled")
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (WIDTH, height)
    assert 15_000 < len(data) < MOST_BYTES


def test_search_finds_what_kubectl_did(watched: Cluster, page: Page, pictures: Path) -> None:
    """The requests of `kubectl apply` are among the traces that change something."""
    console = watched.status()["collector"]["query"]
    operation = "POST /apis/apps/v1/namespaces/{:namespace}/deployments"
    page.goto(f"{console}/search?{urlencode({'service': 'apiserver', 'operation': operation})}")
    expect(page.get_by_role("link", name=f"apiserver: {operation}")).to_have_count(1)
    page.goto(f"{console}/search?{urlencode({'flag': 'change'})}")
    expect(page.get_by_role("status")).to_contain_text("found")
    assert page.get_by_role("region", name="Results").get_by_role("listitem").count() >= 5
    keep(page, pictures / "console-search.png")


def test_a_rollout_is_one_waterfall(watched: Cluster, page: Page, pictures: Path) -> None:
    """From the client's request to kubelets that start containers, with bars as long as things took."""
    told = watched.kubeglass("trace", "deployment/my-nginx").stdout
    page.goto(re.search(r"http://\S+/trace/[0-9a-f]{32}", told)[0])
    grid = page.get_by_role("treegrid", name="Spans")
    expect(grid).to_be_visible()
    rows = grid.locator("tbody tr")
    services = set(grid.locator(".service").all_inner_texts())
    assert services >= {"apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}, services
    assert rows.count() > 100
    keep(page, pictures / "console-trace.png", height=1100)
    shown = grid.locator("tbody tr:visible").count()
    assert 20 < shown < rows.count()  # what a service does on its own is closed in a trace of this size
    grid.locator("tr[aria-expanded=false]:visible").first.locator(".marker").click()
    assert grid.locator("tbody tr:visible").count() > shown
    grid.locator("tbody tr[aria-selected=true]").press("ArrowLeft")
    assert grid.locator("tbody tr:visible").count() == shown
    widths = {bar.get_attribute("width") for bar in grid.locator(".track rect:not(.moment)").all()[:40]}
    assert len(widths) > 5
    expect(page.get_by_role("heading", level=1)).to_contain_text("deployments")


def test_prometheus_draws_the_apiservers_requests(watched: Cluster, page: Page, pictures: Path) -> None:
    """A graph with a line per verb."""
    prometheus = Prometheus(watched.status()["monitoring"]["prometheus"]["url"])
    query = 'sum by (verb) (rate(apiserver_request_total{job="apiserver"}[1m]))'
    samples = 24 if "KUBEGLASS_SCREENSHOTS" in os.environ else 3  # a picture is worth the wait
    eventually(
        lambda: prometheus.value('count_over_time(up{job="apiserver", metrics_path!~".+slis"}[5m])') >= samples,
        "there is something to see",
        300,
    )
    eventually(lambda: len(prometheus.query(query)) >= 5, "Prometheus has seen requests of five verbs", 90)
    words = urlencode({"g0.expr": query, "g0.tab": 0, "g0.range_input": "2m"})
    page.goto(f"{prometheus.url}{prefix(prometheus)}/graph?{words}")
    for verb in ("LIST", "GET", "PATCH"):
        expect(page.locator("body")).to_contain_text(f'verb="{verb}"', timeout=15_000)
    assert page.locator("svg path, canvas").count() >= 1
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    keep(page, pictures / "prometheus-graph.png")


def test_prometheus_shows_the_alert_of_the_broken_pod(watched: Cluster, page: Page, pictures: Path) -> None:
    """ImagePullFailing is pending or firing, the Watchdog fires, and the page says so."""
    prometheus = Prometheus(watched.status()["monitoring"]["prometheus"]["url"])
    eventually(lambda: "ImagePullFailing" in prometheus.alerts(), "the alert is pending", 90)
    page.goto(f"{prometheus.url}{prefix(prometheus)}/alerts")
    page.get_by_text(re.compile(r"Inactive \(\d+\)")).click()
    expect(page.locator("body")).to_contain_text("ImagePullFailing")
    expect(page.locator("body")).to_contain_text("Watchdog")
    page.evaluate(WITHOUT_FOLDERS)
    keep(page, pictures / "prometheus-alerts.png")


def prefix(prometheus: Prometheus) -> str:
    """Debian ships Prometheus 2 with the classic pages only."""
    try:
        with urllib.request.urlopen(f"{prometheus.url}/classic/graph", timeout=10) as answer:
            return "/classic" if b"Prometheus" in answer.read() else ""
    except OSError:
        return ""
