"""Where a separable layer's time goes: its halves and the rest, and the standard layer's time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Explanation, Replacement, SeparableComparison
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    error_bars,
    log_seconds,
    new_figure,
)

MOST_ROWS = 24
PART_COLORS = {DEPTHWISE: "#E69F00", POINTWISE: "#56B4E9", "rest": "#d0d0d0"}
_STANDARD, _SEPARABLE = Look(COLORS[0], "o", "none"), Look(COLORS[1], "s", "none")
_ROOM = 0.07  # of the bar, for a number to fit


def draw(run: Run, comparison: SeparableComparison) -> Picture | None:
    """The parts of each replacement in one setting; None where no halves were timed."""
    explanation = comparison.explanation
    if explanation is None:
        return None
    timed = [r for r in comparison.replacements if r.is_timed]
    shown = choose(timed)
    figure = new_figure(1.5 + 0.26 * max(4, len(shown)))
    parts, times = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    _draw_parts(parts, shown)
    _draw_times(times, shown)
    parts.set_yticks(range(len(shown)), [formatting.shorten(r.label) for r in shown])
    parts.set_ylim(len(shown) - 0.4, -0.6)
    figure.legend(handles=_handles(run.baseline), loc="outside lower center", ncols=6)
    return Picture(
        name="separable_parts",
        figure=figure,
        title=finding(explanation),
        alt=_alt(explanation),
        caption=_caption(run, shown, len(timed) - len(shown)),
    )


def choose(replacements: Sequence[Replacement]) -> list[Replacement]:
    """All of them, or so many evenly over their work, in their order."""
    if len(replacements) <= MOST_ROWS:
        return [*replacements]
    by_work = sorted(range(len(replacements)), key=lambda i: replacements[i].problem.macs)
    last = len(by_work) - 1
    chosen = {by_work[round(i * last / (MOST_ROWS - 1))] for i in range(MOST_ROWS)}
    return [replacements[i] for i in sorted(chosen)]


def _draw_parts(ax: Axes, shown: Sequence[Replacement]) -> None:
    """Shares of the replacement's time as bars end to end, each with its percentage."""
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
    """Time of both layers, and what MACs promise of the standard one's."""
    for look, of in ((_STANDARD, "standard"), (_SEPARABLE, SEPARABLE)):
        ends = [r.standard.time if of == "standard" else r.separable for r in shown]
        value, low, high = np.array(ends).T
        error_bars(ax, [*value], [*range(len(shown))], [*low], [*high], look, along="x")
    promised = [r.standard.time.value / r.mac_ratio for r in shown]
    ax.plot(promised, range(len(shown)), linestyle="none", marker="|", markersize=11,
            markeredgewidth=2, color=GREY)  # fmt: skip
    log_seconds(ax, "x")
    ax.set_xlabel("time of one call")
    ax.tick_params(axis="y", length=0)


def _handles(baseline: str) -> list[Patch | Line2D]:
    words = {DEPTHWISE: "depthwise half", POINTWISE: "pointwise half", "rest": "the rest"}
    bars: list[Patch | Line2D] = [
        Patch(color=color, label=words[name]) for name, color in PART_COLORS.items()
    ]
    marks = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=name)
        for name, look in ((f"standard ({baseline})", _STANDARD), (SEPARABLE, _SEPARABLE))
    ]
    promise = Line2D([], [], color=GREY, marker="|", markersize=11, markeredgewidth=2,
                     linestyle="none", label="as MACs promise")  # fmt: skip
    return [*bars, *marks, promise]


def finding(found: Explanation) -> str:
    """Which half takes more time than its work is worth."""
    shares = found.time_shares
    macs = {DEPTHWISE: found.depthwise_macs, POINTWISE: 1 - found.depthwise_macs}
    dearest = max(macs, key=lambda name: shares[name].value / macs[name])
    alone = "" if found.has_intervals else " (one pass: no interval)"
    return (
        f"The {dearest} half takes {formatting.percent(*shares[dearest])} of {SEPARABLE}'s time "
        f"with {100 * macs[dearest]:.0f} % of its MACs{alone}"
    )


def _alt(found: Explanation) -> str:
    said = [f"{name} {formatting.percent(*share)}" for name, share in found.time_shares.items()]
    return (
        f"Stacked bars of where {SEPARABLE}'s time goes, on average over "
        f"{formatting.count(found.problems, 'problem')}: {', '.join(said)}; beside them the times of "
        "the standard and the separable layer."
    )


def _caption(run: Run, shown: Sequence[Replacement], left_out: int) -> str:
    said = [
        f"Left: time of each half timed alone, as a share of the whole replacement's, on "
        f"{run.settings[0]}. Right: time of one call, logarithmic; a grey tick is where the "
        "replacement would be if time followed MACs."
    ]
    if any(r.shares["rest"].value < 0 for r in shown):
        said.append("Bars past 100 %: the halves alone take longer than the two in turn.")
    if not all(math.isnan(r.separable.low) for r in shown):
        said.append("Bars of dots are 95 % intervals over passes.")
    if left_out:
        said.append(
            f"{formatting.count(left_out, 'problem')} more are in the table only: these are picked "
            "evenly over their MACs."
        )
    return " ".join(said)
