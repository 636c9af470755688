"""Time of the parts of a separable layer, beside the time of the standard layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, SeparableComparison
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.plots.axes import error_bars, evenly_by_work, label_rows, log_seconds
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    drawn_part,
    legend,
    marker_handle,
    new_figure,
    sentence,
)

MOST_ROWS = 24
PART_COLORS = {DEPTHWISE: "#E69F00", POINTWISE: "#56B4E9", "rest": "#d0d0d0"}
_STANDARD, _SEPARABLE = Look(COLORS[0], "o"), Look(COLORS[1], "s")
_PREDICTED: dict[str, Any] = {"markersize": 11, "markeredgewidth": 2}
_ROOM = 0.07  # of the bar, for a number to fit


def draw(run: Run, comparison: SeparableComparison) -> Picture | None:
    """Draw the parts of each replacement in one setting; None if no parts were timed."""
    explanation = comparison.explanation
    if explanation is None:
        return None
    timed = [r for r in comparison.replacements if r.is_timed]
    shown = [timed[place] for place in evenly_by_work([r.problem.macs for r in timed], MOST_ROWS)]
    figure = new_figure(1.5 + 0.26 * max(4, len(shown)))
    parts, times = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    _draw_parts(parts, shown)
    _draw_times(times, shown)
    label_rows(parts, [formatting.shorten(r.label) for r in shown])
    predicted = marker_handle(Look(GREY, "|"), "predicted from MACs", **_PREDICTED)
    layers = {run.baseline: _STANDARD, SEPARABLE: _SEPARABLE}
    legend(figure, layers, colors=PART_COLORS, lines=[predicted])
    share = formatting.percent(explanation.time_shares[DEPTHWISE].value)
    return Picture(
        name="separable_parts",
        figure=figure,
        title=f"Time of the parts of {SEPARABLE}",
        alt="Stacked bars of the shares of the parts, beside the times of both layers.",
        caption=sentence(
            f"the depthwise part takes {share} of the time on average",
            drawn_part(len(shown), len(timed), "problems"),
        ),
    )


def _draw_parts(ax: Axes, shown: Sequence[Replacement]) -> None:
    """Draw the shares of the replacement's time as stacked bars, each with its percentage."""
    widest = 1.0
    for y, replacement in enumerate(shown):
        start = 0.0
        for name, color in PART_COLORS.items():
            share = max(0.0, replacement.shares[name].value)
            ax.barh(y, share, left=start, color=color, height=0.78)
            if share >= _ROOM:
                ax.text(start + share / 2, y, f"{100 * share:.0f}", ha="center", va="center",
                        fontsize=8)  # fmt: skip
            start += share
        widest = max(widest, start)
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xlim(0, widest * 1.02)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    ax.set_xlabel(f"share of {SEPARABLE}'s time")
    ax.grid(visible=False, axis="y")


def _draw_times(ax: Axes, shown: Sequence[Replacement]) -> None:
    """Draw the times of both layers, and the time predicted from MACs."""
    places = range(len(shown))
    for look, times in (
        (_STANDARD, [r.standard.time for r in shown]),
        (_SEPARABLE, [r.separable for r in shown]),
    ):
        value, low, high = np.array(times).T
        error_bars(ax, value, places, look, x_ends=(low, high))
    predicted = [r.standard.time.value / r.mac_ratio for r in shown]
    ax.plot(predicted, places, linestyle="none", marker="|", color=GREY, **_PREDICTED)
    log_seconds(ax, "x")
    ax.set_xlabel("time per call")
    ax.tick_params(axis="y", length=0)
