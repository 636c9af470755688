"""Time against channels and against size: one line per backend, panels for the other axes."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from pandas import DataFrame

from convsweep.analysis.best_backend import fastest
from convsweep.analysis.run import Run
from convsweep.problems.problem import parse_size
from convsweep.report.plots.axes import add_panels, drawn_ends, log_seconds, log_ticks_at
from convsweep.report.plots.style import Look, Picture, fastest_title, legend, looks, new_figure
from convsweep.report.plots.sweep_panels import PANEL_AXES, choose_panels, joined_by_lines


class Sweep(NamedTuple):
    """One axis of a grid."""

    name: str
    column: str
    label: str


CHANNELS = Sweep("channels", "in_channels", "input channels")
SIZE = Sweep("size", "side", "input size (pixels per side)")


def draw(run: Run, sweep: Sweep) -> Picture | None:
    """Draw time against one axis in one setting; None if no backend has two points of it."""
    on_grid = run.cases[run.cases["workload"].isna()]  # layers of networks share no axis
    timed = on_grid[on_grid["status"] == "ok"]
    axes = [name for name in PANEL_AXES if name != sweep.column]
    points = joined_by_lines(_points(timed, sweep), axes, sweep.column)
    if points.empty:
        return None
    panels = choose_panels(points, axes)
    drawn = pd.concat([panel.points for panel in panels])
    shown = {b: look for b, look in looks(run.backends).items() if b in set(drawn["backend"])}
    lines = math.ceil(len(panels) / 3)
    figure = new_figure(1.3 + 2.7 * lines if lines > 1 else 4.4)
    grid = add_panels(figure, [panel.name for panel in panels], sweep.label, "time per call")
    for ax, panel in zip(grid, panels, strict=True):
        for backend, look in shown.items():
            _line(ax, panel.points[panel.points["backend"] == backend], sweep.column, look)
    log_seconds(grid[0], "y")
    log_ticks_at(grid[0], drawn[sweep.column])
    legend(figure, shown)
    best = fastest(run)
    best = best[best["label"].isin(drawn["label"])]
    winners = best.loc[best["significant"], "backend"]
    missing = on_grid[on_grid["label"].isin(drawn["label"]) & (on_grid["status"] != "ok")]
    return Picture(
        name=f"time_by_{sweep.name}",
        figure=figure,
        title=fastest_title(f"Time by {sweep.name}", winners, len(best), "problems"),
        alt=f"Line chart of the time per call against {sweep.label}, one line per backend.",
        caption=f"Median time per call on {run.settings[0]}, with 95 % intervals over passes as "
        f"bands. {drawn['label'].nunique()} of {timed['label'].nunique()} problems are drawn; "
        f"{len(missing)} of their cases have no time.",
    )


def _points(cases: DataFrame, sweep: Sweep) -> DataFrame:
    """Add the columns that distinguish panels; keep only square inputs if size is the axis."""
    cases = cases.copy()
    sizes = cases["input_size"].map(parse_size)
    cases["rank"] = sizes.map(len)
    cases["side"] = sizes.map(lambda size: size[0] if len(set(size)) == 1 else 0)
    cases["outputs"] = cases["out_channels"].astype(str)
    depthwise = (cases["groups"] == cases["in_channels"]) & (cases["groups"] > 1)
    cases["grouping"] = cases["groups"].map(lambda g: "one group" if g == 1 else f"{g} groups")
    cases.loc[depthwise, "grouping"] = "depthwise"
    if sweep is SIZE:
        cases = cases[cases["side"] > 0].drop(columns="input_size")
        cases["input_size"] = cases["rank"].map(lambda rank: f"{rank}-D")
    cases[sweep.column] = cases[sweep.column].astype(float)
    return cases


def _line(ax: Axes, cases: DataFrame, column: str, look: Look) -> None:
    cases = cases.sort_values(column)
    ax.plot(cases[column], cases["median_s"], color=look.color, marker=look.marker,
            linestyle=look.linestyle, markersize=5, linewidth=1.6)  # fmt: skip
    ax.fill_between(cases[column], *drawn_ends(cases["ci_low_s"], cases["ci_high_s"]),
                    color=look.color, alpha=0.25, linewidth=0)  # fmt: skip
