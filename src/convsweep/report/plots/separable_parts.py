"""Shares of the depthwise and the pointwise part in the time of a separable layer."""

from __future__ import annotations

from convsweep import formatting
from convsweep.analysis.separable.comparison import SeparableComparison
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.plots.axes import evenly_by_work, label_rows
from convsweep.report.plots.style import Picture, legend, new_figure, sentence

MOST_ROWS = 24
PART_COLORS = {DEPTHWISE: "#E69F00", POINTWISE: "#56B4E9", "rest": "#d0d0d0"}
_ROOM = 0.04  # of the bar, for a number to fit


def draw(comparison: SeparableComparison) -> Picture | None:
    """Draw one stacked bar per replacement in one setting; None if no parts were timed."""
    if not (timed := comparison.timed):
        return None
    shown = [timed[place] for place in evenly_by_work([r.problem.macs for r in timed], MOST_ROWS)]
    figure = new_figure(1.5 + 0.26 * max(4, len(shown)))
    ax = figure.subplots()
    widest = 1.0
    for y, replacement in enumerate(shown):
        start = 0.0
        for name, color in PART_COLORS.items():
            share = max(0.0, replacement.shares[name].value)
            ax.barh(y, share, left=start, color=color, height=0.78)
            if share >= _ROOM:
                ax.text(start + share / 2, y, f"{100 * share:.0f}", ha="center", va="center",
                        fontsize=8.5)  # fmt: skip
            start += share
        widest = max(widest, start)
    label_rows(ax, [formatting.shorten(r.label) for r in shown])
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xlim(0, widest * 1.02)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    ax.set_xlabel(f"share of {SEPARABLE}'s time")
    ax.grid(visible=False, axis="y")
    legend(figure, {}, colors=PART_COLORS)
    share_of_time = formatting.percent(comparison.mean_share(DEPTHWISE))
    return Picture(
        name="separable_parts",
        figure=figure,
        title=f"Time of the parts of {SEPARABLE}",
        alt="Stacked bars, one per problem.",
        caption=sentence(
            f"The depthwise part takes {share_of_time} of the time on average",
            "timed alone, parts may exceed 100 %",
            drawn=(len(shown), len(timed)),
        ),
    )
