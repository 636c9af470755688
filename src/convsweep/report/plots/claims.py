"""The lecture's claims at a glance: a row a claim, its pairs against the band where it holds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.claims.evidence import (
    FAILS,
    HOLDS,
    UNDECIDED,
    VERDICTS,
    ClaimResult,
    PairResult,
)
from convsweep.report.plots.style import COLORS, GREY, Look, Picture, error_bars, legend, new_figure

_LOOKS = {
    HOLDS: Look(COLORS[1], "o", "none"),
    FAILS: Look(COLORS[2], "X", "none"),
    UNDECIDED: Look(GREY, "s", "none"),
}
_MEAN = Look("black", "D", "none")
_BAND = "#cfe3f2"
_ROOM = 1.25  # left and right of the outermost interval


def draw(weighed: Sequence[ClaimResult], baseline: str) -> Picture:
    """One setting's claims, those with pairs; at least one must have some."""
    shown = [evidence for evidence in weighed if evidence.pairs]
    figure = new_figure(1.3 + 0.62 * len(shown))
    ax = figure.subplots()
    _frame(ax, shown)
    for row, evidence in enumerate(shown):
        _draw_claim(ax, row, evidence)
    found = {each.verdict for evidence in shown for each in evidence.pairs}
    looks = {f"a pair: {word}": look for word, look in _LOOKS.items() if word in found}
    band = Line2D([], [], color=_BAND, linewidth=9, label="where the claim holds")
    mean = {"geometric mean of the pairs": _MEAN}
    legend(figure, {**mean, **looks}, joined=False, lines=[band])
    return Picture(
        name="claims",
        figure=figure,
        title=finding(weighed),
        alt=_alt(shown),
        caption=_caption(shown, baseline),
    )


def finding(results: Sequence[ClaimResult]) -> str:
    """Return `11 claims about cost: holds 3, holds in part 6, does not hold 2`."""
    found = [each.verdict for each in results]
    counts = [f"{verdict} {found.count(verdict)}" for verdict in VERDICTS if verdict in found]
    return f"{formatting.count(len(results), 'claim')} about cost: {', '.join(counts)}"


def _frame(ax: Axes, shown: Sequence[ClaimResult]) -> None:
    """Rows from the top down, and a logarithmic axis that holds every interval."""
    ends = np.array([each.over_claimed for evidence in shown for each in evidence.pairs])
    low, high = np.nanmin(ends) / _ROOM, np.nanmax(ends) * _ROOM
    ax.set(xscale="log", xlim=(min(low, 0.5), max(high, 2)), ylim=(len(shown) - 0.4, -0.6))
    ax.axvline(1, color=GREY, linewidth=1, zorder=1)
    ax.set_yticks(range(len(shown)), [textwrap.fill(e.claim.statement, 34) for e in shown])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("← cheaper than claimed     time measured / time claimed     dearer →")


def _draw_claim(ax: Axes, row: int, evidence: ClaimResult) -> None:
    """Its band, its mean, below that its pairs from low to high, and its verdict on the right."""
    low, high = evidence.claim.band
    left = max(low, ax.get_xlim()[0])
    ax.fill_betweenx([row - 0.45, row + 0.45], left, high, color=_BAND, linewidth=0, zorder=0)
    pairs = sorted(evidence.pairs, key=lambda each: each.over_claimed.value)
    offsets = np.linspace(0.0, 0.36, len(pairs)) if len(pairs) > 1 else np.array([0.18])
    for verdict, look in _LOOKS.items():
        _draw_pairs(
            ax,
            [each for each in pairs if each.verdict == verdict],
            [row + o for o, each in zip(offsets, pairs, strict=True) if each.verdict == verdict],
            look,
        )
    mean = evidence.mean
    error_bars(ax, [mean.value], [row - 0.22], [mean.low], [mean.high], _MEAN, along="x")
    ax.annotate(
        f"{evidence.verdict}\n{len(evidence.with_verdict(HOLDS))} of {len(pairs)}",
        (1.01, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9,
        fontweight="bold",
        color=_LOOKS[evidence.verdict].color if evidence.verdict in _LOOKS else "black",
    )


def _draw_pairs(ax: Axes, pairs: Sequence[PairResult], y: Sequence[float], look: Look) -> None:
    if pairs:
        values, low, high = zip(*(each.over_claimed for each in pairs), strict=True)
        error_bars(ax, values, y, low, high, look, along="x")


def _alt(shown: Sequence[ClaimResult]) -> str:
    told = [
        f"{each.claim.statement}: {formatting.interval(*each.mean)}, {each.verdict}"
        for each in shown
    ]
    return (
        f"Chart of {formatting.count(len(shown), 'claim')}, measured over claimed. "
        + "; ".join(told)
        + "."
    )


def _caption(shown: Sequence[ClaimResult], baseline: str) -> str:
    pairs = sum(len(evidence.pairs) for evidence in shown)
    bars = "Bars are 95 % intervals over passes."
    if all(np.isnan(evidence.mean.low) for evidence in shown):
        bars = "One pass gives no interval, and so no verdict."
    return (
        f"{formatting.count(pairs, 'pair')} of timings; at 1 a pair costs what the lecture says, to "
        f"the right more. Where nothing else is said both times are of {baseline}. {bars}"
    )
