"""The committed dashboards are what content/ says, and say enough."""

import json
from pathlib import Path

import pytest
import yaml
from grafana import dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).parents[2]
FILES = sorted(dashboards.FOLDER.glob("*.json"))
PANELS = [(board, panel) for board in dashboards.boards() for panel in board.panels()]
UNITS = {"none", "s", "ms", "bytes", "Bps", "pps", "ops", "reqps", "percentunit"}


def test_committed_files_are_generated():
    """Nobody has edited a dashboard by hand, or forgot to generate it."""
    assert {file.name: file.read_text() for file in FILES} == dashboards.rendered()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_survives_grafanas_schema(file):
    """Read by the schema's types and written again, nothing is lost."""
    content = json.loads(file.read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))
    for panel in content["panels"]:
        assert panel in again["panels"] or panel["type"] == "row"
    assert (again["uid"], again["title"]) == (content["uid"], content["title"])
    assert len(again["panels"]) == len(content["panels"])


def test_ids_are_unique():
    """Boards differ in uid and title; panels of a board in title within their section."""
    boards = dashboards.boards()
    assert len({board.uid for board in boards}) == len({board.title for board in boards}) == len(boards)
    for board in boards:
        for section in board.sections:
            titles = [panel.title for panel in section.panels]
            assert len(set(titles)) == len(titles), (board.uid, section.title)


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{b.uid}/{p.title}" for b, p in PANELS])
def test_a_panel_explains_itself(board, panel):
    """A sentence, a known unit, a runbook that exists."""
    assert panel.description.endswith(".")
    assert panel.unit in UNITS
    assert panel.queries
    if panel.runbook:
        file, _, anchor = panel.runbook.partition("#")
        headings = {line[3:].lower() for line in (ROOT / file).read_text().splitlines() if line.startswith("## ")}
        assert anchor in headings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_links_to_traces_and_latencies_show_exemplars(file):
    """From a figure there is always a way to a trace."""
    for panel in json.loads(file.read_text())["panels"]:
        if panel["type"] == "row":
            continue
        assert any("kubeglass-traces" in link["url"] for link in panel["links"]), panel["title"]
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            if panel["type"] == "timeseries" and "_bucket" in target["expr"]:
                assert target["exemplar"] is True, (panel["title"], target["expr"])


def test_provisioning_names_what_the_dashboards_use():
    """Both data sources are provisioned, with links from exemplars to traces and back."""
    content = yaml.safe_load((ROOT / "grafana" / "provisioning" / "datasources" / "kubeglass.yaml").read_text())
    sources = {source["uid"]: source for source in content["datasources"]}
    (exemplar,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplar == {"name": "trace_id", "datasourceUid": "jaeger"}
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"
