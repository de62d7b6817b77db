"""Writes dashboards/*.json from the boards in content/ with the Grafana Foundation SDK.

python -m grafana.dashboards           write them
python -m grafana.dashboards --check   say which differ from what is committed; exit status 1 if any
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .panels import Board, Panel, Query, Section, Variable

FOLDER = Path(__file__).with_name("dashboards")
AREAS = (
    "overview", "apiserver", "flowcontrol", "storage", "scheduler", "controllers", "kubelet", "proxy", "cni", "nodes",
    "traces", "logs", "telemetry",
)  # fmt: skip
"""The modules of content/, in the order of the menu."""

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT = 7
_STAT_HEIGHT = 4


def boards() -> list[Board]:
    """Every dashboard."""
    return [import_module(f".content.{area}", __package__).BOARD for area in AREAS]


def rendered() -> dict[str, str]:
    """File names and contents."""
    return {
        f"{board.uid}.json": JSONEncoder(sort_keys=True, indent=2).encode(_built(board)) + "\n" for board in boards()
    }


def _built(board: Board) -> Any:
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["kubeglass"])
        .refresh("10s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_menu())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    for section in board.sections:
        made = _with_section(made, section)
    return made.build()


def _menu() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("kubeglass").type(DashboardLinkType.DASHBOARDS).tags(["kubeglass"]).as_dropdown(True)
        .keep_time(True)
    )  # fmt: skip


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .datasource(_SOURCE)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _with_section(made: dashboard.Dashboard, section: Section) -> dashboard.Dashboard:
    made = made.with_row(dashboard.Row(section.title))
    for panel in section.panels:
        made = made.with_panel(_panel(panel))
    return made


def _panel(panel: Panel) -> Any:
    made: Any = _KINDS[panel.kind](panel)
    made = made.title(panel.title).description(panel.text).unit(panel.unit).datasource(_SOURCE).span(panel.width)
    made = made.height(_STAT_HEIGHT if panel.kind == "stat" else _HEIGHT).links(_links(panel))
    for index, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query, chr(ord("A") + index)))
    return made


def _links(panel: Panel) -> Sequence[dashboard.DashboardLink]:
    """From every panel to the traces behind it, and to the runbook of the alert that watches the same figure."""
    traces = dashboard.DashboardLink("Traces").url("/d/kubeglass-traces?${__url_time_range}").target_blank(True)
    if not panel.runbook:
        return (traces,)
    name = panel.runbook.partition("#")[2]
    return traces, dashboard.DashboardLink(f"Runbook {name}").url(f"/public/{panel.runbook}").target_blank(True)


def _target(panel: Panel, query: Query, ref: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(_SOURCE)
    if panel.kind == "timeseries":
        return made.range().exemplar("_bucket" in query.expr)
    made = made.instant()
    return made.format(PromQueryFormat.TABLE) if panel.kind == "table" else made


def _timeseries(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 5)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    return made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)) if panel.stacked else made


def _stat(panel: Panel) -> stat.Panel:
    return stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _table(panel: Panel) -> table.Panel:
    return table.Panel()


_KINDS: Mapping[str, Any] = {"timeseries": _timeseries, "stat": _stat, "table": _table}


def main(argv: Sequence[str]) -> int:
    """See the module."""
    wanted = rendered()
    there = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    if "--check" in argv:
        different = sorted({name for name in {*wanted, *there} if wanted.get(name) != there.get(name)})
        for name in different:
            print(f"{FOLDER.name}/{name} is not what content/ says; run python -m grafana.dashboards")
        return 1 if different else 0
    FOLDER.mkdir(exist_ok=True)
    for name in there.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
