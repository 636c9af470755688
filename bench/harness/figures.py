"""Figures of the harness report: speedups, changes between runs, overhead."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from pandas import DataFrame

from bench.harness import agreement, overhead
from bench.harness.pairs import short_name
from convsweep import formatting
from convsweep.formatting import percent
from convsweep.report.plots.axes import log_ratios, log_seconds, log_ticks_at, panel_figure
from convsweep.report.plots.style import (
    GREY,
    Look,
    Picture,
    drawing_style,
    legend,
    looks,
    new_figure,
)

_GAINS = {
    "child_gains": "worker process",
    "parent_gains": "parent, to the last row",
    "summary_gains": "parent, in the summary",
}
_CHANGES = {"median_change": "-", "p95_change": "--"}
_NAMES = {"median_change": "median", "p95_change": "95th percentile"}


def tool_pictures(rows: DataFrame) -> list[Picture]:
    """Return the figures of speedups and of changes between runs."""
    used = looks(agreement.tool_names(rows))
    with drawing_style():
        return [_answers(agreement.most_measured(rows), used), _error_against_cost(rows, used)]


def _answers(rows: DataFrame, used: dict[str, Look]) -> Picture:
    """Return a chart with one row per pair, one lane per tool and one dot per run."""
    shown = {tool: used[tool] for tool in agreement.tool_names(rows)}
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
    return Picture(
        name="answers",
        figure=figure,
        title="Speedup per run, by tool",
        alt="Dot chart, one row per pair of layers and one dot per run.",
        caption="Ticks mark the median per tool; a narrow cloud means that runs agree.",
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


def _error_against_cost(rows: DataFrame, used: dict[str, Look]) -> Picture:
    """Return lines of the median and 95th percentile change over the seconds taken, per tool."""
    table = agreement.by_tool(rows).dropna(subset="p95_change")
    sets = list(rows["pairs"].unique())
    labels = ("seconds per run", "change between two runs (%)")
    figure, axes = panel_figure(sets, *labels, each=4.6, more=0)
    for ax, name in zip(axes, sets, strict=True):
        ours = table[table["pairs"] == name]
        for tool, lines in ours.groupby("tool"):
            look = used[str(tool)]
            for column, style in _CHANGES.items():
                ax.plot(lines["run_s"], 100 * lines[column], style, color=look.color,
                        marker=look.marker, markersize=5)  # fmt: skip
        log_ticks_at(ax, rows["seconds"])
        ax.set_yscale("log")
        log_ratios(ax.yaxis)
    handles = [Line2D([], [], color=GREY, linestyle=style, label=_NAMES[column])
               for column, style in _CHANGES.items()]  # fmt: skip
    legend(figure, {tool: used[tool] for tool in used if tool in set(table["tool"])},
           lines=handles, joined=False)  # fmt: skip
    return Picture(
        name="error_against_cost",
        figure=figure,
        title="Change of a speedup between two runs, by seconds per run",
        alt="Line charts, one line per tool for the median and one for the 95th percentile.",
        caption="Lower is better, further left is cheaper.",
    )


def steadiness(table: DataFrame) -> str:
    """Return a sentence: changes of convsweep and pytest-benchmark, or the smallest change."""
    changed = table.dropna(subset="p95_change").set_index("tool")
    if changed.empty:
        return "A single run has no change"
    if not {agreement.OURS, agreement.RIVAL} <= set(changed.index):
        best = changed["p95_change"].idxmin()
        return (
            f"Smallest change: {best}, {percent(changed['p95_change'].min())} at the 95th "
            "percentile"
        )
    ours, rival = changed.loc[agreement.OURS], changed.loc[agreement.RIVAL]
    return (
        f"95th percentile change of a speedup: {percent(ours['p95_change'])} between two runs of "
        f"convsweep ({formatting.seconds(ours['run_s'])} each), "
        f"{percent(rival['p95_change'])} with "
        f"pytest-benchmark ({formatting.seconds(rival['run_s'])} each)"
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
        title="Overhead per case and memory, by number of cases",
        alt="Two line charts, overhead per case and memory gain.",
        caption="Dashed lines are the project's limits.",
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
