"""Time against channels and against size: a line a backend, a panel for what else varies."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
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


class Panel(NamedTuple):
    """The points of one panel; `group` is the part of its name that a row of panels shares."""

    group: str
    name: str
    points: DataFrame


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
    timed = _timed(run)
    points = _points(timed, sweep)
    axes = [name for name in _PANEL_AXES if name != sweep.column]
    points = _lines(points, axes, sweep)
    if points.empty:
        return None
    panels, left_out = _choose_panels(points, axes)
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


def _lines(points: DataFrame, axes: list[str], sweep: Sweep) -> DataFrame:
    """The points that share a line with another: at fixed outputs, or as many out as in.

    Whichever of the two joins more of them.
    """
    same = points["out_channels"] == points["in_channels"]
    follows = points.assign(outputs=points["outputs"].mask(same, "as many"))
    joined = [
        each[each.groupby(axes)[sweep.column].transform("nunique") >= 2]
        for each in (follows, points)
    ]
    return max(joined, key=len)


def _choose_panels(points: DataFrame, axes: list[str]) -> tuple[list[Panel], list[str]]:
    """At most six panels, evenly over the axes that vary, and which values are left out."""
    varying = {name: list(dict.fromkeys(points[name])) for name in axes}
    varying = {name: values for name, values in varying.items() if len(values) > 1}
    others = [name for name in varying if name != "padding"]
    if others and _number(points, others) == _number(points, [*varying]):
        varying.pop("padding", None)  # it follows the kernel: no axis of its own
    shown, left_out = points, []
    while _number(shown, [*varying]) > MOST_PANELS:
        longest = max(varying, key=lambda name: len(varying[name]))
        kept = _evenly(varying[longest], len(varying[longest]) - 1)
        (gone,) = [value for value in varying[longest] if value not in kept]
        left_out.append(_PANEL_AXES[longest].format(gone))
        varying[longest] = kept
        shown = shown[shown[longest] != gone]
    order = sorted(varying, key=lambda name: len(varying[name]))  # the longest is a row of panels
    panels = []
    for values in itertools.product(*(varying[name] for name in order)):
        chosen = points
        for name, value in zip(order, values, strict=True):
            chosen = chosen[chosen[name] == value]
        if len(chosen):
            said = [_PANEL_AXES[n].format(v) for n, v in zip(order, values, strict=True)]
            panels.append(Panel("".join(said[:1]), ", ".join(said), chosen))
    return panels, left_out


def _number(points: DataFrame, axes: list[str]) -> int:
    """How many panels these axes make."""
    return points.groupby(axes).ngroups if axes else 1


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


def finding(run: Run, drawn: DataFrame, sweep: Sweep, timed: int) -> str:
    """Which backend is the fastest along the axis, as far as that is decided.

    Of the problems drawn, where they are fewer than the `timed` ones.
    """
    problems = drawn.drop_duplicates("label").set_index("label")
    best = fastest(run)
    best = best[best["label"].isin(problems.index)]
    part = f"the {len(problems)} problems drawn" if len(problems) < timed else ""
    if not best["decided"].any():
        among = f" in {part}" if part else ""
        return f"Time against {sweep.noun}: no backend is clearly the fastest{among}"
    sure = best["backend"].where(best["decided"], "")
    best = best.assign(sure=sure, value=best["label"].map(problems[sweep.column]))
    groups = best["label"].map(problems["group"])
    if groups.nunique() > MOST_GROUPS:
        groups = groups.map(lambda _: "")
    found = {str(group): _along(part, sweep) for group, part in best.groupby(groups, sort=False)}
    said = [f"{words} ({group})" if group else words for group, words in found.items() if words]
    if said:
        rest = "; otherwise it depends" if len(said) < len(found) else ""
        return f"Fastest{f' of {part}' if part else ''}: {'; '.join(said)}{rest}"
    counts = Counter(best.loc[best["decided"], "backend"].to_list())
    wins = [f"{name} in {n}" for name, n in counts.most_common(4)]
    doubt = f"; {(sure == '').sum()} undecided" if (sure == "").any() else ""
    return f"Fastest of {part or labels.count(len(best), 'problem')}: {', '.join(wins)}{doubt}"


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
        ends = labels.seconds(times.min()), labels.seconds(times.max())
        said.append(f"{backend} from {' to '.join(ends)}")
    return (
        f"Line chart of time against {sweep.noun}, {labels.count(panels, 'panel')}, "
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
        said.append(f"No panel is drawn of {labels.join([*left_out])}.")
    if problems < timed:
        said.append(f"Drawn are {problems} of {timed} problems: see the table of every case.")
    return " ".join(said)
