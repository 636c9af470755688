"""The page's figures: what each tool answers, how far it moves, what our own harness costs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from pandas import DataFrame

from bench.harness import agreement, overhead
from bench.harness.pairs import short_name
from convsweep import formatting
from convsweep.report.plots.axes import log_seconds, log_ticks_at
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    drawing_style,
    legend,
    looks,
    new_figure,
)

_BAR = 0.36
_GAINS = {
    "child_gains": "measuring process",
    "parent_gains": "parent, to the last row",
    "summary_gains": "parent, at most, in the summary",
}
_MEDIAN_COLOR, _P95_COLOR = COLORS[5], COLORS[1]


def percent(change: float) -> str:
    """`0.0234` as `2.3 %`; words where there is none."""
    return formatting.NOT_MEASURED if np.isnan(change) else f"{100 * change:.1f} %"


def tool_pictures(rows: DataFrame) -> list[Picture]:
    """What the tools answer, and how far they move."""
    with drawing_style():
        return [picture.with_title_drawn() for picture in (_answers(rows), _steadiness(rows))]


def _answers(rows: DataFrame) -> Picture:
    """A row a pair, in it a line a tool, a dot a run."""
    shown = looks(agreement.tool_names(rows))
    pairs = list(dict.fromkeys(rows["pair"]))
    figure = new_figure(1.6 + 0.62 * len(pairs))
    ax = figure.subplots()
    for lane, (tool, look) in enumerate(shown.items()):
        _dots(ax, rows[rows["tool"] == tool], pairs, 0.15 * (lane - (len(shown) - 1) / 2), look)
    for edge in range(1, len(pairs)):
        ax.axhline(edge - 0.5, color="#e3e3e3", linewidth=0.7)
    ax.grid(visible=False, axis="y")
    ax.set_yticks(range(len(pairs)), list(map(short_name, pairs)))
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("speedup of the separable layer over the standard one (times)")
    legend(figure, shown, joined=False)
    widest = agreement.widest_disagreement(rows)
    title = (
        f"The same separable layer is {formatting.digits(widest.low)} times as fast as the standard "
        f"one by {widest.lowest}, {formatting.digits(widest.high)} times by {widest.highest}"
    )
    return Picture(
        name="answers",
        figure=figure,
        title=title,
        alt=f"Dot chart of {formatting.count(len(pairs), 'pair')} by {len(shown)} tools: the speedup "
        f"that each run of each tool gives. They agree least on {short_name(widest.pair)}.",
        caption="A dot a run, a tick the median of a tool's runs. A narrow cloud is a tool that "
        "agrees with itself; clouds apart are tools that answer different questions.",
    )


def _dots(ax: Axes, rows: DataFrame, pairs: list[str], lane: float, look: Look) -> None:
    places = [pairs.index(pair) + lane for pair in rows["pair"]]
    ax.scatter(
        rows["speedup"], places, s=16, color=look.color, marker=look.marker, alpha=0.55,
        linewidths=0,
    )  # fmt: skip
    for pair, runs in rows.groupby("pair"):
        ax.plot([runs["speedup"].median()], [pairs.index(str(pair)) + lane], color=look.color,
                marker="|", markersize=11, markeredgewidth=1.6, linestyle="none")  # fmt: skip


def _steadiness(rows: DataFrame) -> Picture:
    """Two bars a tool: the median and the 95th percentile of a change between two runs."""
    table = agreement.by_tool(rows).dropna(subset="p95_change")
    figure = new_figure(1.5 + 0.55 * max(1, len(table)))
    ax = figure.subplots()
    places = np.arange(len(table))
    ax.barh(places - _BAR / 2, 100 * table["median_change"], _BAR, color=_MEDIAN_COLOR,
            label="median")  # fmt: skip
    ends = ax.barh(places + _BAR / 2, 100 * table["p95_change"], _BAR, color=_P95_COLOR,
                   label="95th percentile")  # fmt: skip
    ax.bar_label(ends, [*map(percent, table["p95_change"])], padding=3, fontsize=9)
    names = [f"{tool}\n{run_s:.1f} s a run" for tool, run_s in table["run_s"].items()]
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.12)
    ax.set_xlabel("change of a speedup between two runs of the same tool (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return Picture(
        name="steadiness",
        figure=figure,
        title=steadiness(table),
        alt="Bar chart: how far a speedup moves between two runs of the same tool, median and "
        f"95th percentile, for {formatting.join(list(map(str, table.index)))}.",
        caption="Over every pair of layers and every two runs of a tool. Shorter is steadier; "
        "below each name stands what a run costs.",
    )


def steadiness(table: DataFrame) -> str:
    """Ours against pytest-benchmark, in a sentence; the steadiest tool where one is missing."""
    if table.empty:
        return "One run tells nothing about change"
    if not {agreement.OURS, agreement.RIVAL} <= set(table.index):
        best = table["p95_change"].idxmin()
        return f"{best} moves least: {percent(table['p95_change'].min())} (95th percentile)"
    ours, rival = table.loc[agreement.OURS], table.loc[agreement.RIVAL]
    return (
        f"A speedup moves by up to {percent(ours['p95_change'])} between two runs of convsweep "
        f"({ours['run_s']:.1f} s), by {percent(rival['p95_change'])} with pytest-benchmark "
        f"({rival['run_s']:.1f} s); 95th percentiles"
    )


def overhead_picture(table: DataFrame) -> Picture:
    """Overhead a case, and memory, against the number of cases."""
    with drawing_style():
        figure = new_figure(3.8)
        left, right = figure.subplots(1, 2)
        _lines(left, table, {"further_case_s": "a further case",
                             "whole_case_s": "with start and summary"})  # fmt: skip
        left.set_yscale("log")
        log_seconds(left, "y")
        left.set_ylabel("not timing, a case")
        _limit(left, overhead.LIMIT_S)
        held = {name: table[f"{name}_bytes"] / 2**20 for name in _GAINS}
        _lines(right, table.assign(**held), _GAINS)
        right.set_ylabel("memory, beyond a few cases' (MiB)")
        _limit(right, overhead.LIMIT_BYTES / 2**20)
        for ax in (left, right):
            log_ticks_at(ax, table["cases"])
            ax.set_xlabel("cases in the run")
            ax.legend(loc="best")
    return Picture(
        name="overhead",
        figure=figure,
        title=cost(table),
        alt="Two line charts against the number of cases: seconds a case that are not timing, and "
        "the memory that parent and measuring process gain.",
        caption="No-op cases: 1x1 convolutions of one pixel, timed for an instant. Dashed lines "
        "are the limits that we set ourselves.",
    ).with_title_drawn()


def _lines(ax: Axes, table: DataFrame, columns: dict[str, str]) -> None:
    for (column, name), look in zip(columns.items(), looks([*columns]).values(), strict=True):
        ax.plot(table["cases"], table[column], label=name, color=look.color, marker=look.marker)


def _limit(ax: Axes, value: float) -> None:
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1, zorder=1)


def cost(table: DataFrame) -> str:
    """What the largest grid costs, in a sentence."""
    last = table.iloc[-1]
    return (
        f"Of {last['cases']:,.0f} cases each takes {formatting.seconds(last['whole_case_s'])} that are "
        f"not timing; the parent holds {formatting.size_in_bytes(last['summary_gains_bytes'])} more"
    )
