"""A picture of a simulation: seats per flow over time (PNG or SVG). Needs the `plot` extra, matplotlib."""

from __future__ import annotations

from pathlib import Path

from kubeglass.components.apiserver.flowcontrol.simulator import FlowResult, Outcome

_POINTS = 600


def draw(outcome: Outcome, file: Path) -> None:
    """Writes the picture; the suffix says the format. Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    duration = outcome.scenario.duration_seconds
    times = [duration * index / _POINTS for index in range(_POINTS + 1)]
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.stackplot(times, [_sampled(flow, times) for flow in outcome.flows], labels=[f.name for f in outcome.flows])
    axes.set(xlabel="seconds", ylabel="seats", title=outcome.scenario.title or "seats per flow", xlim=(0, duration))
    axes.text(0.99, 0.98, f"fairness {outcome.fairness:.3f}", transform=axes.transAxes, ha="right", va="top")
    axes.legend(loc="upper left")
    figure.savefig(file)


def _sampled(flow: FlowResult, times: list[float]) -> list[float]:
    """The average seats held between one time and the next."""
    samples, position, held = [], 0, 0
    for begin, end in zip(times, [*times[1:], times[-1]], strict=True):
        area, at = 0.0, begin
        while position < len(flow.timeline) and flow.timeline[position][0] <= end:
            when, seats = flow.timeline[position]
            area += held * max(when - at, 0)
            at, held = max(at, when), seats
            position += 1
        area += held * (end - at)
        samples.append(area / (end - begin) if end > begin else float(held))
    return samples
