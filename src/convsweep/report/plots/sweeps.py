"""Time against channels and against size: a line a backend, a panel for what else varies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.run import Run, fastest
from convsweep.problems.problem import parse_size
from convsweep.report.plots.style import (
    Look,
    Picture,
    lay_panels,
    legend,
    log_seconds,
    log_ticks_at,
    looks,
    new_figure,
)
from convsweep.report.plots.sweep_panels import PANEL_AXES, choose_panels, joined_by_lines

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_GROUPS = 3  # of panels, that a title can speak of


class Sweep(NamedTuple):
    """One axis of a grid, and how to speak of it."""

    name: str
    column: str
    axis_label: str
    noun: str
    every: str


CHANNELS = Sweep("channels", "in_channels", "input channels", "channels", "number of channels")
SIZE = Sweep("size", "side", "input size (pixels a side)", "pixels a side", "size")


def draw(run: Run, sweep: Sweep) -> Picture | None:
    """Time against one axis in one setting; None where no backend has two points of it."""
    timed = _timed(run)
    points = _points(timed, sweep)
    axes = [name for name in PANEL_AXES if name != sweep.column]
    points = joined_by_lines(points, axes, sweep.column)
    if points.empty:
        return None
    panels, left_out = choose_panels(points, axes)
    drawn = pd.concat([panel.points.assign(group=panel.group) for panel in panels])
    title = finding(run, drawn, sweep, timed["label"].nunique())
    shown = {b: look for b, look in looks(run.backends).items() if b in set(drawn["backend"])}
    lines = math.ceil(len(panels) / 3)
    figure = new_figure(1.3 + 2.7 * lines if lines > 1 else 4.4)
    grid = lay_panels(figure, len(panels), sweep.axis_label, "time of one call")
    for ax, panel in zip(grid, panels, strict=True):
        ax.set_title(panel.name, loc="left")
        for backend, look in shown.items():
            _line(ax, panel.points[panel.points["backend"] == backend], sweep.column, look)
    log_seconds(grid[0], "y")
    log_ticks_at(grid[0], drawn[sweep.column])
    legend(figure, shown)
    return Picture(
        name=f"time_by_{sweep.name}",
        figure=figure,
        title=title,
        alt=_alt(drawn, shown, len(panels), sweep),
        caption=_caption(run, drawn, sweep, left_out, timed["label"].nunique()),
    )


def _timed(run: Run) -> DataFrame:
    """The timed cases of grids, not of networks, whose layers share no axis."""
    return run.cases[(run.cases["status"] == "ok") & run.cases["workload"].isna()]


def _points(cases: DataFrame, sweep: Sweep) -> DataFrame:
    """The cases with what panels are told apart by; only square ones where size is the axis."""
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
    """One backend's line and its band; cases without a time leave no point."""
    cases = cases.sort_values(column)
    ax.plot(cases[column], cases["median_s"], color=look.color, marker=look.marker,
            linestyle=look.linestyle, markersize=5, linewidth=1.6)  # fmt: skip
    ax.fill_between(cases[column], cases["ci_low_s"], cases["ci_high_s"], color=look.color,
                    alpha=0.25, linewidth=0)  # fmt: skip


def finding(run: Run, drawn: DataFrame, sweep: Sweep, timed: int) -> str:
    """Which backend is the fastest along the axis, as far as that is decided.

    Of the problems drawn, where they are fewer than the `timed` ones.
    """
    problems = drawn.drop_duplicates("label").set_index("label")
    best = fastest(run)
    best = best[best["label"].isin(problems.index)]
    part = f"the {len(problems)} problems drawn" if len(problems) < timed else ""
    if not best["significant"].any():
        among = f" in {part}" if part else ""
        return f"Time against {sweep.noun}: no backend is clearly the fastest{among}"
    sure = best["backend"].where(best["significant"], "")
    best = best.assign(sure=sure, value=best["label"].map(problems[sweep.column]))
    groups = best["label"].map(problems["group"])
    if groups.nunique() > MOST_GROUPS:
        groups = groups.map(lambda _: "")
    found = {str(group): _along(part, sweep) for group, part in best.groupby(groups, sort=False)}
    said = [f"{words} ({group})" if group else words for group, words in found.items() if words]
    if said:
        rest = "; otherwise it depends" if len(said) < len(found) else ""
        return f"Fastest{f' of {part}' if part else ''}: {'; '.join(said)}{rest}"
    counts = Counter(best.loc[best["significant"], "backend"].to_list())
    wins = [f"{name} in {n}" for name, n in counts.most_common(4)]
    doubt = f"; {(sure == '').sum()} undecided" if (sure == "").any() else ""
    return f"Fastest of {part or formatting.count(len(best), 'problem')}: {', '.join(wins)}{doubt}"


def _along(best: DataFrame, sweep: Sweep) -> str:
    """`a up to 16, b from 64 channels on`; empty where neither end of the axis has one winner."""
    winners = best.groupby("value")["sure"].agg(lambda s: s.iloc[0] if s.nunique() == 1 else "")
    names, values = list(winners), [f"{value:g}" for value in winners.index]
    first, last = names[0], names[-1]
    if set(names) == {last} and last:
        return f"{last} at every {sweep.every}"
    said = []
    if first:
        until = next(i for i, name in enumerate(names) if name != first) - 1
        said.append(f"{first} {'up to' if until else 'at'} {values[until]} {sweep.noun}")
    if last:
        start = max(i for i, name in enumerate(names) if name != last) + 1
        on = f"from {values[start]} {sweep.noun} on"
        said.append(f"{last} {on if start < len(names) - 1 else f'at {values[-1]} {sweep.noun}'}")
    return ", ".join(said)


def _alt(drawn: DataFrame, shown: dict[str, Look], panels: int, sweep: Sweep) -> str:
    said = []
    for backend in shown:
        times = drawn.loc[drawn["backend"] == backend, "median_s"]
        ends = formatting.seconds(times.min()), formatting.seconds(times.max())
        said.append(f"{backend} from {' to '.join(ends)}")
    return (
        f"Line chart of time against {sweep.noun}, {formatting.count(panels, 'panel')}, "
        f"both axes logarithmic: {'; '.join(said)}."
    )


def _caption(run: Run, drawn: DataFrame, sweep: Sweep, left_out: Sequence[str], timed: int) -> str:
    said = [
        f"Median time of one call against {sweep.noun} on {run.settings[0]}, both axes logarithmic."
    ]
    if drawn["ci_low_s"].notna().any():
        said.append("Bands are 95 % intervals over passes; one unseen is narrower than its line.")
    else:
        said.append("One pass gives no interval.")
    here = run.cases[run.cases["label"].isin(drawn["label"])]
    absent = here.loc[here["status"] != "ok", ["backend", "status"]].value_counts(sort=False)
    if len(absent):
        gone = [
            f"{backend} {n} ({status})" for backend, status, n in absent.reset_index().to_numpy()
        ]
        said.append(f"Points that are missing: {', '.join(gone)}.")
    problems = drawn["label"].nunique()
    if left_out:
        said.append(f"No panel is drawn of {formatting.join([*left_out])}.")
    outputs = drawn["outputs"].unique()
    if problems < timed and len(outputs) == 1:
        as_input = " as input channels" if outputs[0] == "as many" else ""
        said.append(f"All that is drawn has {outputs[0]} output channels{as_input}.")
    if problems < timed:
        said.append(f"Drawn are {problems} of {timed} problems: see the table of every case.")
    return " ".join(said)
