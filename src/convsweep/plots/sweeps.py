"""Time against channels and against size: a line a backend, a panel for what else varies."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from convsweep import labels
from convsweep.findings import Run, fastest
from convsweep.plots.style import (
    Look,
    Picture,
    lay_panels,
    legend,
    log_seconds,
    log_ticks_at,
    looks,
    new_figure,
)
from convsweep.problem import parse_size

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PANELS = 6


class Sweep(NamedTuple):
    """One axis of a grid, and how to speak of it."""

    name: str
    column: str
    axis_label: str
    noun: str


CHANNELS = Sweep("channels", "in_channels", "input channels", "channels")
SIZE = Sweep("size", "side", "input size (pixels a side)", "pixels a side")

# The other axes of a grid, which set the panels: (column, how a panel's title says its value).
_PANEL_AXES = {
    "kernel_size": "kernel {}",
    "input_size": "input {}",
    "in_channels": "{} channels",
    "outputs": "{} output channels",
    "batch_size": "batch {}",
    "stride": "stride {}",
    "dilation": "dilation {}",
    "padding": "padding {}",
    "grouping": "{}",
    "bias": "bias {}",
    "weight_kind": "{} weight",
}


def draw(run: Run, sweep: Sweep) -> Picture | None:
    """Time against one axis in one setting; None where no backend has two points of it."""
    points = _points(run, sweep)
    axes = [name for name in _PANEL_AXES if name != sweep.column and name in points]
    points = points[points.groupby(axes)[sweep.column].transform("nunique") >= 2]
    if points.empty:
        return None
    panels, left_out = _choose_panels(points, axes)
    drawn = pd.concat(panels.values())
    title = finding(run, drawn, sweep)
    shown = {b: look for b, look in looks(run.backends).items() if b in set(drawn["backend"])}
    lines = math.ceil(len(panels) / 3)
    figure = new_figure(1.3 + 2.7 * lines if lines > 1 else 4.4)
    grid = lay_panels(figure, len(panels), sweep.axis_label, "time of one call")
    for ax, (name, panel) in zip(grid, panels.items(), strict=True):
        ax.set_title(name, loc="left")
        for backend, look in shown.items():
            _line(ax, panel[panel["backend"] == backend], sweep.column, look)
    log_seconds(grid[0], "y")
    log_ticks_at(grid[0], drawn[sweep.column])
    legend(figure, shown)
    return Picture(
        name=f"time_by_{sweep.name}",
        figure=figure,
        title=title,
        alt=_alt(panels, shown, sweep),
        caption=_caption(run, drawn, sweep, left_out),
    )


def _points(run: Run, sweep: Sweep) -> DataFrame:
    """The timed cases of grids, not of networks, whose layers share no axis."""
    cases = run.cases[(run.cases["status"] == "ok") & run.cases["workload"].isna()].copy()
    sizes = cases["input_size"].map(parse_size)
    cases["rank"] = sizes.map(len)
    cases["side"] = sizes.map(lambda size: size[0] if len(set(size)) == 1 else 0)
    follows = (cases["out_channels"] == cases["in_channels"]).all()
    cases["outputs"] = "as many" if follows else cases["out_channels"].astype(str)
    depthwise = (cases["groups"] == cases["in_channels"]) & (cases["groups"] > 1)
    cases["grouping"] = cases["groups"].map(lambda g: "one group" if g == 1 else f"{g} groups")
    cases.loc[depthwise, "grouping"] = "depthwise"
    if sweep is SIZE:
        cases = cases[cases["side"] > 0].drop(columns="input_size")
        cases["input_size"] = cases["rank"].map(lambda rank: f"{rank}-D")
    cases[sweep.column] = cases[sweep.column].astype(float)
    return cases


def _choose_panels(points: DataFrame, axes: list[str]) -> tuple[dict[str, DataFrame], int]:
    """At most six panels, evenly over the axes that vary, and how many are left out."""
    varying = {name: list(dict.fromkeys(points[name])) for name in axes}
    varying = {name: values for name, values in varying.items() if len(values) > 1}
    for name in reversed(list(varying)):  # padding follows the kernel: no axis of its own
        others = [other for other in varying if other != name]
        if others and points.groupby(others).ngroups == points.groupby(list(varying)).ngroups:
            del varying[name]
    whole = points.groupby(list(varying)).ngroups if varying else 1
    while math.prod(map(len, varying.values())) > MOST_PANELS:
        longest = max(varying, key=lambda name: len(varying[name]))
        varying[longest] = _evenly(varying[longest], len(varying[longest]) - 1)
    order = sorted(
        varying, key=lambda name: len(varying[name])
    )  # the longest axis lies along a row
    panels = {}
    for values in itertools.product(*(varying[name] for name in order)):
        chosen = points
        for name, value in zip(order, values, strict=True):
            chosen = chosen[chosen[name] == value]
        if len(chosen):
            said = [_PANEL_AXES[n].format(v) for n, v in zip(order, values, strict=True)]
            panels[", ".join(said)] = chosen
    return panels, whole - len(panels)


def _evenly(values: list[object], number: int) -> list[object]:
    """So many of the values, the first and the last among them."""
    if number < 2:
        return values[:number]
    return [values[round(i * (len(values) - 1) / (number - 1))] for i in range(number)]


def _line(ax: Axes, cases: DataFrame, column: str, look: Look) -> None:
    """One backend's line and its band; cases without a time leave no point."""
    cases = cases.sort_values(column)
    ax.plot(cases[column], cases["median_s"], color=look.color, marker=look.marker,
            linestyle=look.linestyle, markersize=5, linewidth=1.6)  # fmt: skip
    ax.fill_between(cases[column], cases["ci_low_s"], cases["ci_high_s"], color=look.color,
                    alpha=0.25, linewidth=0)  # fmt: skip


def finding(run: Run, drawn: DataFrame, sweep: Sweep) -> str:
    """Which backend is the fastest along the axis, as far as that is decided."""
    best = fastest(run)
    best = best[best["label"].isin(drawn["label"])]
    if not best["decided"].any():
        return f"Time against {sweep.noun}: no backend is clearly the fastest"
    value = drawn.drop_duplicates("label").set_index("label")[sweep.column]
    best = best.assign(value=best["label"].map(value))
    sure = best["backend"].where(best["decided"], "")
    alone = sure.groupby(best["value"]).agg(
        lambda names: names.iloc[0] if names.nunique() == 1 else ""
    )
    if len(alone) > 1 and (upper := alone.iloc[-1]):
        start = max((i + 1 for i, name in enumerate(alone) if name != upper), default=0)
        if start == 0:
            return f"{upper} is the fastest at every number of {sweep.noun} measured"
        if start < len(alone) - 1 or alone.iloc[0]:
            lower = alone.iloc[0]
            until = next(i for i, name in enumerate([*alone, None]) if name != lower) - 1
            below = f"{lower} up to {alone.index[until]:g}" if lower else "below that it depends"
            return f"{upper} is the fastest from {alone.index[start]:g} {sweep.noun} on; {below}"
    wins = sure[sure != ""].value_counts()
    said = [f"{name} in {n}" for name, n in wins.items()]
    said[0] = (
        f"{wins.index[0]} is the fastest in {wins.iloc[0]} of {labels.count(len(best), 'problem')}"
    )
    open_ = len(best) - int(best["decided"].sum())
    return f"{', '.join(said[:4])}" + (f"; {open_} undecided" if open_ else "")


def _alt(panels: dict[str, DataFrame], shown: dict[str, Look], sweep: Sweep) -> str:
    ends = []
    for backend in shown:
        cases = pd.concat(panels.values())
        times = cases.loc[cases["backend"] == backend, "median_s"]
        ends.append(
            f"{backend} from {labels.seconds(times.min())} to {labels.seconds(times.max())}"
        )
    return (
        f"Line chart of time against {sweep.noun}, {labels.count(len(panels), 'panel')}, "
        f"both axes logarithmic: {'; '.join(ends)}."
    )


def _caption(run: Run, drawn: DataFrame, sweep: Sweep, left_out: int) -> str:
    said = [
        f"Median time of one call against {sweep.noun} on {run.settings[0]}, both axes logarithmic."
    ]
    if drawn["ci_low_s"].notna().any():
        said.append("Bands are 95 % intervals over passes; most are narrower than a line.")
    else:
        said.append("One pass gives no interval.")
    here = run.cases[run.cases["label"].isin(drawn["label"])]
    absent = here.loc[here["status"] != "ok", ["backend", "status"]].value_counts(sort=False)
    if len(absent):
        gone = [
            f"{backend} {n} ({status})" for backend, status, n in absent.reset_index().to_numpy()
        ]
        said.append(f"Points that are missing: {', '.join(gone)}.")
    if left_out:
        said.append(f"{labels.count(left_out, 'panel')} more, alike, are in the table only.")
    return " ".join(said)
