"""The console in a real browser: search, waterfall, graph; by keyboard alone, and as a screen reader is told."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect
from tests.collector.harness import Running, logs_of, request_of

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TRACE, OTHER = os.urandom(16), os.urandom(16)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"no {CHROMIUM}: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        await started.close()


class Visit:
    """A page that notes every request and every error."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def _note(self, request: Request) -> None:
        self.requests.append(request.url)


@pytest.fixture
async def visit(running: Running, browser: Browser) -> AsyncIterator[Visit]:
    """Open the console on a collector that holds two linked traces with a log line."""
    now = time.time_ns()
    await running.export(
        request_of(
            {
                "trace_id": TRACE,
                "span_id": b"r" * 8,
                "name": "POST /apis/apps/v1/deployments",
                "kind": 2,
                "start_time_unix_nano": now - 90_000_000,
                "end_time_unix_nano": now,
                "attributes": {"audit-id": "<b>bold</b>"},
            },
            {
                "trace_id": TRACE,
                "span_id": b"e" * 8,
                "parent_span_id": b"r" * 8,
                "name": "Create etcd3",
                "start_time_unix_nano": now - 60_000_000,
                "end_time_unix_nano": now - 20_000_000,
                "status": {"code": 2, "message": "no space"},
                "events": [{"name": "Txn call failed", "time_unix_nano": now - 30_000_000}],
                "links": [{"trace_id": OTHER, "span_id": b"o" * 8}],
            },
            service="apiserver",
        )
    )
    await running.export(
        request_of(
            {
                "trace_id": TRACE,
                "span_id": b"s" * 8,
                "parent_span_id": b"r" * 8,
                "name": "syncPod",
                "start_time_unix_nano": now - 15_000_000,
                "end_time_unix_nano": now - 10_000_000,
            },
            service="kubelet",
        )
    )
    await running.export(request_of({"trace_id": OTHER, "span_id": b"o" * 8, "name": "before"}, service="kubelet"))
    await running.export(logs_of(TRACE, "Pod started", span=b"s" * 8, service="kubelet"))
    page = await browser.new_page()
    yield Visit(page, f"http://{running.collector.query}")
    await page.close()


async def test_from_search_to_span(visit: Visit) -> None:
    """A user searches, opens a trace, sees the failed span's events and links and the logs, and follows the link."""
    page = visit.page
    await page.goto(visit.base)
    await page.get_by_label("Service").select_option("apiserver")
    await page.get_by_label("Show").select_option("error")
    await page.get_by_label("Tags").fill("audit-id=<b>bold</b>")
    await page.get_by_role("button", name="Find traces").click()
    await expect(page.get_by_role("status")).to_have_text("Nothing found. A wider time or fewer conditions may help.")
    await page.get_by_label("Tags").fill("")
    await page.get_by_role("button", name="Find traces").click()
    result = page.get_by_role("link", name="apiserver: POST /apis/apps/v1/deployments")
    await expect(page.get_by_role("listitem")).to_contain_text("3 spans · apiserver, kubelet")
    await result.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("apiserver: POST /apis/apps/v1/deployments")
    assert page.url == f"{visit.base}/trace/{TRACE.hex()}"
    rows = page.get_by_role("treegrid").get_by_role("row")
    await expect(rows).to_have_count(4)
    detail = page.get_by_role("region", name="Chosen span")
    await expect(detail).to_contain_text("<b>bold</b>")
    await rows.nth(2).click()
    await expect(detail.get_by_role("heading", level=2)).to_have_text("apiserver: Create etcd3")
    await expect(detail).to_contain_text("no space")
    await expect(detail).to_contain_text("Txn call failed")
    await expect(page.get_by_text("Pod started")).to_have_count(1)
    await detail.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("kubelet: before")
    await page.go_back()
    await expect(page.get_by_role("heading", level=1)).to_have_text("apiserver: POST /apis/apps/v1/deployments")
    assert visit.errors == []


async def test_keyboard_alone(visit: Visit) -> None:
    """Arrow keys walk, close and open the tree; Enter goes to the details; focus follows the page."""
    page = visit.page
    await page.goto(f"{visit.base}/trace/{TRACE.hex()}")
    rows = page.get_by_role("treegrid").get_by_role("row")
    await expect(rows).to_have_count(4)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for _ in range(5):
        await page.keyboard.press("Tab")
    await expect(rows.nth(1)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(rows.nth(2)).to_be_focused()
    await expect(rows.nth(2)).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowLeft")
    await expect(rows.nth(1)).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await expect(rows.nth(1)).to_have_attribute("aria-expanded", "false")
    await expect(rows).to_have_count(2)
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("End")
    await expect(rows.nth(3)).to_be_focused()
    await expect(rows.nth(3)).to_have_attribute("aria-level", "2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="kubelet: syncPod")).to_be_focused()
    await page.get_by_label("Trace ID").fill(OTHER.hex())
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("kubelet: before")
    await expect(page.get_by_role("main")).to_be_focused()
    assert visit.errors == []


async def test_service_graph(visit: Visit, running: Running) -> None:
    """The graph is a drawing with a name, and the same calls as a table."""
    running.collector._graph._settle_seconds = 0
    page = visit.page
    await page.goto(f"{visit.base}/dependencies")
    await expect(page.get_by_role("img", name="Drawing of the calls listed in the table below")).to_be_visible()
    await expect(page.get_by_role("row").nth(1)).to_have_text("apiserverkubelet1")
    await expect(page.get_by_role("link", name="Service graph")).to_have_attribute("aria-current", "page")
    await page.get_by_role("table").get_by_role("link", name="kubelet").click()
    await expect(page.get_by_label("Service")).to_have_value("kubelet")
    assert visit.errors == []


async def test_unknown_trace(visit: Visit) -> None:
    """An unknown trace is said in words."""
    await visit.page.goto(f"{visit.base}/trace/abc")
    await expect(visit.page.get_by_role("status")).to_have_text("trace not found")


async def test_nothing_from_elsewhere(visit: Visit) -> None:
    """Every page loads from the collector only, every field has a label, and headings never skip a level."""
    page = visit.page
    for path in ("/search?service=apiserver", f"/trace/{TRACE.hex()}", "/dependencies"):
        await page.goto(visit.base + path)
        await page.wait_for_load_state("networkidle")
        unnamed = await page.evaluate(
            "[...document.querySelectorAll('input, select, button')]"
            ".filter((e) => !e.labels?.length && !e.textContent).length"
        )
        levels = await page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((e) => Number(e.tagName[1]))")
        assert unnamed == 0 and levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert await page.title() != ""
    assert {url.split("/")[2] for url in visit.requests if not url.startswith("data:")} == {visit.base.split("/")[2]}
    assert visit.errors == []
