"""Figures of the harness report: speedups, changes between runs, overhead."""

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
    "child_gains": "worker process",
    "parent_gains": "parent, to the last row",
    "summary_gains": "parent, in the summary",
}
_MEDIAN_COLOR, _P95_COLOR = COLORS[5], COLORS[1]


def percent(change: float) -> str:
    """`0.0234` as `2.3 %`; "not measured" for NaN."""
    return formatting.NOT_MEASURED if np.isnan(change) else f"{100 * change:.1f} %"


def tool_pictures(rows: DataFrame) -> list[Picture]:
    """Return the figures of speedups and of changes between runs."""
    with drawing_style():
        return [_answers(rows), _steadiness(rows)]


def _answers(rows: DataFrame) -> Picture:
    """Return a chart with one row per pair, one lane per tool and one dot per run."""
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
        f"Largest disagreement, on {short_name(widest.pair)}: speedup "
        f"{formatting.digits(widest.low)} ({widest.lowest}) to "
        f"{formatting.digits(widest.high)} ({widest.highest})"
    )
    return Picture(
        name="answers",
        figure=figure,
        title=title,
        alt=f"Dot chart: speedup per run, for {formatting.count(len(pairs), 'pair')} and "
        f"{formatting.count(len(shown), 'tool')}.",
        caption="One dot per run; ticks mark the median per tool. A narrow cloud means that "
        "runs agree; separate clouds mean that the tools measure different things.",
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
    """Return bars of the median and 95th percentile change, per tool."""
    table = agreement.by_tool(rows).dropna(subset="p95_change")
    figure = new_figure(1.5 + 0.55 * max(1, len(table)))
    ax = figure.subplots()
    places = np.arange(len(table))
    ax.barh(places - _BAR / 2, 100 * table["median_change"], _BAR, color=_MEDIAN_COLOR,
            label="median")  # fmt: skip
    ends = ax.barh(places + _BAR / 2, 100 * table["p95_change"], _BAR, color=_P95_COLOR,
                   label="95th percentile")  # fmt: skip
    ax.bar_label(ends, [*map(percent, table["p95_change"])], padding=3, fontsize=9)
    names = [f"{tool}\n{run_s:.1f} s per run" for tool, run_s in table["run_s"].items()]
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
        alt="Bar chart: change of a speedup between two runs of the same tool, median and "
        f"95th percentile, for {formatting.join(list(map(str, table.index)))}.",
        caption="Over all pairs of layers and all two runs of a tool. Shorter is better. "
        "The time per run stands below each name.",
    )


def steadiness(table: DataFrame) -> str:
    """Return a sentence: changes of convsweep and pytest-benchmark, or the smallest change."""
    if table.empty:
        return "A single run has no change"
    if not {agreement.OURS, agreement.RIVAL} <= set(table.index):
        best = table["p95_change"].idxmin()
        return (
            f"Smallest change: {best}, {percent(table['p95_change'].min())} at the 95th percentile"
        )
    ours, rival = table.loc[agreement.OURS], table.loc[agreement.RIVAL]
    return (
        f"95th percentile change of a speedup: {percent(ours['p95_change'])} between two runs of "
        f"convsweep ({ours['run_s']:.1f} s each), {percent(rival['p95_change'])} with "
        f"pytest-benchmark ({rival['run_s']:.1f} s each)"
    )


def overhead_picture(table: DataFrame) -> Picture:
    """Return charts of overhead per case and memory gain over the number of cases."""
    with drawing_style():
        figure = new_figure(3.8)
        left, right = figure.subplots(1, 2)
        _lines(left, table, {"further_case_s": "further case",
                             "whole_case_s": "including start and summary"})  # fmt: skip
        left.set_yscale("log")
        log_seconds(left, "y")
        left.set_ylabel("overhead per case")
        _limit(left, overhead.LIMIT_S)
        gains_mib = {name: table[f"{name}_bytes"] / 2**20 for name in _GAINS}
        _lines(right, table.assign(**gains_mib), _GAINS)
        right.set_ylabel("memory gain over the smallest run (MiB)")
        _limit(right, overhead.LIMIT_BYTES / 2**20)
        for ax in (left, right):
            log_ticks_at(ax, table["cases"])
            ax.set_xlabel("cases in the run")
            ax.legend(loc="best")
    return Picture(
        name="overhead",
        figure=figure,
        title=cost(table),
        alt="Two line charts over the number of cases: overhead per case, and memory gain of "
        "the parent and the worker process.",
        caption="No-op cases: 1x1 convolutions of one pixel with minimal timing. Dashed lines "
        "are the project's limits.",
    )


def _lines(ax: Axes, table: DataFrame, columns: dict[str, str]) -> None:
    for (column, name), look in zip(columns.items(), looks([*columns]).values(), strict=True):
        ax.plot(table["cases"], table[column], label=name, color=look.color, marker=look.marker)


def _limit(ax: Axes, value: float) -> None:
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1, zorder=1)


def cost(table: DataFrame) -> str:
    """Return a sentence: overhead and memory of the largest run."""
    last = table.iloc[-1]
    return (
        f"Overhead with {last['cases']:,.0f} cases: {formatting.seconds(last['whole_case_s'])} per "
        f"case; the parent gains {formatting.size_in_bytes(last['summary_gains_bytes'])}"
    )
