"""Parts of the time of one call, one stacked bar per backend and setting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.report.plots.axes import drawn_ends, label_rows, linear_seconds
from convsweep.report.plots.style import GREY, Picture, legend, new_figure
from convsweep.results.call_parts import PARTS, UNATTRIBUTED, WHOLE

PART_COLORS = dict(zip(PARTS, (
    "#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#8c564b", "#a8a8a8", "#e4e4e4",
), strict=True))  # fmt: skip
_STEP_COLORS = (
    "#56B4E9", "#009E73", "#8da0cb", "#9fd8c6", "#b39ddb", "#b9d4a5", "#4fb3bf", "#c8b273",
    "#e5a7b8",
)  # fmt: skip
_ROOM = 0.08  # of the longest bar, for a number to fit


def draw(problem: str, calls: Mapping[str, Mapping[str, Interval]]) -> Picture:
    """Draw the parts of calls by name of backend and setting, as time and as share."""
    names = dict.fromkeys(name for parts in calls.values() for name in parts if name != WHOLE)
    steps = [name for name in names if name not in PART_COLORS]
    colors = {name: _STEP_COLORS[i % len(_STEP_COLORS)] for i, name in enumerate(steps)}
    colors |= {name: color for name, color in PART_COLORS.items() if name in names}
    figure = new_figure(1.6 + 0.36 * max(3, len(calls)))
    times, shares = figure.subplots(1, 2, sharey=True)
    longest = max(
        sum(abs(parts[name].value) for name in parts if name != WHOLE) / parts[WHOLE].value
        for parts in calls.values()
    )
    for y, parts in enumerate(calls.values()):
        whole = parts[WHOLE]
        (low,), (high,) = drawn_ends([whole.low], [whole.high])
        end = _stack(times, y, parts, colors, 1.0, math.inf)
        _stack(shares, y, parts, colors, whole.value, _ROOM * longest)
        times.plot([low, high], [y, y], color="black", linewidth=1.5)
        times.annotate(formatting.seconds(whole.value), (np.nanmax([end, whole.value, high]), y),
                       xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5,
                       color=GREY)  # fmt: skip
    label_rows(times, [*calls])
    shares.tick_params(labelleft=False)
    linear_seconds(times)
    times.set_xlabel("time per call")
    times.margins(x=0.2)
    shares.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    shares.set_xlabel("share of the call")
    times.set_title(formatting.shorten(problem, 60), loc="left")
    for ax in (times, shares):
        ax.axvline(0, color="black", linewidth=0.8)
        ax.grid(visible=False, axis="y")
    legend(figure, {}, colors=colors)
    return Picture(
        name="call_parts",
        figure=figure,
        title="Where the time of one call goes",
        alt="Stacked bars of parts, one per backend and setting, as time and as share.",
        caption=f"Parts are measured with instruments; {UNATTRIBUTED} is the rest of the call.",
    )


def _stack(
    ax: Axes,
    y: int,
    parts: Mapping[str, Interval],
    colors: Mapping[str, str],
    unit: float,
    room: float,
) -> float:
    """Stack positive parts to the right of zero, negative ones to its left; return the end.

    A part that has `room` contains its percentage.
    """
    ends = {True: 0.0, False: 0.0}
    for name, color in colors.items():
        share = parts[name].value / unit if name in parts else 0.0
        start = ends[share > 0]
        ax.barh(y, share, left=start, color=color, height=0.7)
        if abs(share) >= room:
            ax.text(start + share / 2, y, f"{100 * share:.0f}", ha="center", va="center",
                    fontsize=8)  # fmt: skip
        ends[share > 0] += share
    return ends[True]
