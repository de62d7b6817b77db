"""docs/metrics.md, written from the rows: `python -m tests.telemetry.metrics.document`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.telemetry.metrics import surface

from kubeglass.telemetry.metrics.definitions import Metric

TARGET = Path(__file__).parents[3] / "docs/metrics.md"

HEAD = """# Metrics

What kubeglass exposes of the metrics of Kubernetes v1.36, and why the rest has no meaning here. This page is generated
from the metric rows in the code (`python -m tests.telemetry.metrics.document`); a test keeps it true.

Level is the stability promise: STABLE metrics change only after three releases of warning, BETA after one, ALPHA and
INTERNAL at once; metrics without a level stand outside the framework. *deprecated* says since when; whether such a
metric is shown, hidden or gone depends on the release (`--emulated-version`, `--show-hidden-metrics-for-version`).
*iptables mode*: only there with `--proxy-mode=iptables`.
Names that begin with `kubeglass_` are ours alone.
"""


def render() -> str:
    """The whole page."""
    exposed = [metric for metric in surface.upstream() if surface.match(metric) is not None]
    total = len(surface.upstream())
    summary = f"\nExposed: {len(exposed)} of {total}; not applicable: {total - len(exposed)}.\n"
    return HEAD + summary + "".join([*_exposed(exposed), *_ours_alone(), *_not_applicable()])


def _exposed(exposed: list[surface.Upstream]) -> Iterator[str]:
    titles = sorted({_title(metric.endpoints) for metric in exposed}, key=lambda title: (title[0] != "E", title))
    for title in titles:
        yield f"\n## {title}\n\n| name | type | level | labels |\n|---|---|---|---|\n"
        yield from (_line(metric) for metric in exposed if _title(metric.endpoints) == title)


def _title(endpoints: tuple[str, ...]) -> str:
    """`kubelet /metrics/cadvisor`, or `Every component /metrics`."""
    served = [endpoint for endpoint in endpoints if endpoint.partition("/")[0] in surface.COMPONENTS]
    components = [endpoint.partition("/")[0] for endpoint in served]
    paths = sorted({"/" + endpoint.partition("/")[2] for endpoint in served})
    who = "Every component" if set(components) == set(surface.COMPONENTS) else ", ".join(dict.fromkeys(components))
    return f"{who}: {', '.join(paths)}"


def _line(metric: surface.Upstream) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    deprecated = f" *deprecated {metric.deprecated}*" if metric.deprecated else ""
    mode = " *iptables mode*" if metric.name in surface.IPTABLES_MODE else ""
    return f"| `{metric.name}`{deprecated}{mode} | {metric.type} | {metric.stability or '-'} | {labels} |\n"


def _ours_alone() -> Iterator[str]:
    names = {metric.name for metric in surface.upstream()}
    rows = sorted({row.name: row for row, _ in surface.ours() if row.name not in names}.values(), key=_name)
    yield "\n## Not upstream's\n\nFigures of this implementation, and metrics of older releases.\n\n"
    yield "| name | type | labels | what it says |\n|---|---|---|---|\n"
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.type} | {labels} | {row.help} |\n"


def _name(row: Metric) -> str:
    return row.name


def _not_applicable() -> Iterator[str]:
    yield "\n## Not applicable\n"
    absent = [metric.name for metric in surface.upstream() if surface.match(metric) is None]
    for why in surface.reasons():
        names = [f"`{name}`" for name in absent if surface.reason_for(name) == why]
        yield f"\n**{why}**: {', '.join(names)}.\n"


if __name__ == "__main__":
    TARGET.write_text(render())
