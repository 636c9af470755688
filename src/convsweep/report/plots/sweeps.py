"""Time against channels and against size: one line per backend, panels for the other axes."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pandas import DataFrame

from convsweep.analysis.best_backend import fastest
from convsweep.analysis.labels import padding_of
from convsweep.analysis.run import Run
from convsweep.formatting import compact
from convsweep.problems.problem import parse_size
from convsweep.report.plots.axes import drawn_ends, evenly, log_seconds, log_ticks_at, panel_figure
from convsweep.report.plots.style import (
    GREY,
    Look,
    Picture,
    legend,
    looks,
    most_wins,
    sentence,
)

_MOST_PANELS = 6
_PANEL_AXES = {
    "kernel_size": "kernel {}", "input_size": "input {}", "in_channels": "{} channels",
    "outputs": "{} output channels", "batch_size": "batch {}", "stride": "stride {}",
    "dilation": "dilation {}", "padding": "padding {}", "grouping": "{}", "bias": "bias {}",
    "weight_kind": "{} weight",
}  # fmt: skip
"""Column of each axis, and its value in the title of a panel."""
_CHANGE: dict[str, Any] = {"marker": "|", "markersize": 13, "markeredgewidth": 1.6}


class Sweep(NamedTuple):
    """One axis of a grid."""

    name: str
    column: str
    label: str


CHANNELS = Sweep("channels", "in_channels", "input channels")
SIZE = Sweep("size", "side", "input size (pixels per side)")


def draw(run: Run, sweep: Sweep) -> Picture | None:
    """Draw time against one axis in one setting; None if no backend has two points of it."""
    layers = run.cases["workload"].notna()  # of networks: they share no axis
    timed = run.cases[~layers & (run.cases["status"] == "ok")]
    axes = [name for name in _PANEL_AXES if name != sweep.column]
    points = _joined_by_lines(_points(timed, sweep), axes, sweep.column)
    if points.empty:
        return None
    panels = _choose_panels(points, axes)
    drawn = pd.concat([cases for _, cases in panels])
    shown = {b: look for b, look in looks(run.backends).items() if b in set(drawn["backend"])}
    names, height = [name for name, _ in panels], 2.7 if len(panels) > 3 else 3.1
    figure, grid = panel_figure(names, sweep.label, "time per call", each=height, more=1.3)
    changes = sum(
        _line(ax, cases[cases["backend"] == backend], sweep.column, look)
        for ax, (_, cases) in zip(grid, panels, strict=True)
        for backend, look in shown.items()
    )
    log_seconds(grid[0], "y")
    log_ticks_at(grid[0], drawn[sweep.column])
    tick = Line2D([], [], color=GREY, linestyle="none", label="implementation changes", **_CHANGE)
    legend(figure, shown, lines=[tick] if changes else [])
    best = fastest(run)
    best = best[best["label"].isin(drawn["label"])]
    winners = best.loc[best["significant"], "backend"]
    return Picture(
        name=f"time_by_{sweep.name}",
        figure=figure,
        title=f"Time per call by {sweep.label}",
        alt="Line charts, one line per backend.",
        caption=sentence(
            most_wins(winners, len(best), "problems"),
            drawn=(drawn["label"].nunique(), timed["label"].nunique()),
        ),
    )


def _points(cases: DataFrame, sweep: Sweep) -> DataFrame:
    """Add the columns that distinguish panels; keep only square inputs if size is the axis."""
    cases = cases.copy()
    sizes = cases["input_size"].map(parse_size)
    cases["rank"] = sizes.map(len)
    cases["side"] = sizes.map(lambda size: size[0] if len(set(size)) == 1 else 0)
    cases["outputs"] = cases["out_channels"].astype(str)
    cases["padding"] = [padding_of(case) for case in cases.to_dict("records")]
    depthwise = (cases["groups"] == cases["in_channels"]) & (cases["groups"] > 1)
    cases["grouping"] = cases["groups"].map(lambda g: "one group" if g == 1 else f"{g} groups")
    cases.loc[depthwise, "grouping"] = "depthwise"
    if sweep is SIZE:
        cases = cases[cases["side"] > 0].drop(columns="input_size")
        cases["input_size"] = cases["rank"].map(lambda rank: f"{rank}-D")
    cases[sweep.column] = cases[sweep.column].astype(float)
    return cases


def _line(ax: Axes, cases: DataFrame, column: str, look: Look) -> int:
    """Draw one backend's line; return how often its implementation changes."""
    cases = cases.sort_values(column)
    ax.plot(cases[column], cases["time_s"], color=look.color, marker=look.marker,
            linestyle=look.linestyle, markersize=5, linewidth=1.6)  # fmt: skip
    ax.fill_between(cases[column], *drawn_ends(cases["ci_low_s"], cases["ci_high_s"]),
                    color=look.color, alpha=0.25, linewidth=0)  # fmt: skip
    changes = middles_of_changes(cases, column)
    if len(changes):
        ax.plot(changes[column], changes["time_s"], color=look.color, linestyle="none", **_CHANGE)
    return len(changes)


def middles_of_changes(cases: DataFrame, column: str) -> DataFrame:
    """Return the points of a line half way between two cases of different implementations."""
    before = cases.shift()
    changed = (cases["implementation"] != before["implementation"]).fillna(False)  # NA: unknown
    axes = [column, "time_s"]
    return (cases[axes] * before[axes]).loc[changed].astype(float) ** 0.5  # both are logarithmic


def _joined_by_lines(points: DataFrame, axes: list[str], column: str) -> DataFrame:
    """Return the points that share a line with another one.

    Lines have a fixed number of output channels, or as many as input channels, whichever
    joins more points.
    """
    same = points["out_channels"] == points["in_channels"]
    follows = points.assign(outputs=points["outputs"].mask(same, "as many"))
    joined = [
        each[each.groupby(axes)[column].transform("nunique") >= 2] for each in (follows, points)
    ]
    return max(joined, key=len)


def _choose_panels(points: DataFrame, axes: list[str]) -> list[tuple[str, DataFrame]]:
    """Return titles and cases of at most six panels, evenly spread over the axes that vary."""
    varying = {name: list(dict.fromkeys(points[name])) for name in axes}
    varying = {name: values for name, values in varying.items() if len(values) > 1}
    for name in ("padding", "weight_kind"):
        others = [other for other in varying if other != name]
        if others and _panel_count(points, others) == _panel_count(points, [*varying]):
            varying.pop(name, None)  # it follows the kernel: no axis of its own
    every, chosen = dict(varying), points
    while _panel_count(chosen, [*varying]) > _MOST_PANELS:
        longest = max(varying, key=lambda name: (len(varying[name]), len(every[name])))
        fewer = evenly(len(every[longest]), len(varying[longest]) - 1)
        varying[longest] = [every[longest][place] for place in fewer]
        chosen = points[np.all([points[name].isin(varying[name]) for name in varying], axis=0)]
    points = chosen
    order = sorted(varying, key=lambda name: len(varying[name]))  # the longest is a row of panels
    panels = []
    for values in itertools.product(*(varying[name] for name in order)):
        chosen, titles = points, []
        for name, value in zip(order, values, strict=True):
            chosen = chosen[chosen[name] == value]
            text = value if name == "input_size" else compact(str(value))
            titles.append(_PANEL_AXES[name].format(text))
        if len(chosen):
            panels.append((", ".join(titles), chosen))
    return panels


def _panel_count(points: DataFrame, axes: list[str]) -> int:
    return points.groupby(axes).ngroups if axes else 1
