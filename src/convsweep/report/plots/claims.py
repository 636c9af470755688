"""Claims of the lecture: one row per claim, its pairs against the band where it holds."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from convsweep.analysis.claims.evidence import FAILS, HOLDS, UNDECIDED, ClaimResult
from convsweep.report.plots.axes import drawn_ends, error_bars, label_rows, log_ratios
from convsweep.report.plots.style import COLORS, GREY, Look, Picture, legend, new_panel

_LOOKS = {HOLDS: Look(COLORS[1], "o"), FAILS: Look(COLORS[2], "X"), UNDECIDED: Look(GREY, "s")}
_MEAN = Look("black", "D")
_BAND = "#cfe3f2"
_ROOM = 1.25  # left and right of the outermost interval


def draw(results: Sequence[ClaimResult], baseline: str) -> Picture | None:
    """Draw the claims of one setting that have pairs; None if none has."""
    shown = [result for result in results if result.pairs]
    if not shown:
        return None
    figure, ax = new_panel(1.3 + 0.62 * len(shown))
    _frame(ax, shown)
    for row, result in enumerate(shown):
        _draw_claim(ax, row, result)
    found = {pair.verdict for result in shown for pair in result.pairs}
    shown_looks = {f"pair: {word}": look for word, look in _LOOKS.items() if word in found}
    band = Patch(color=_BAND, label="band where the claim holds")
    legend(figure, {"geometric mean of the pairs": _MEAN, **shown_looks}, joined=False,
           lines=[band])  # fmt: skip
    return Picture(
        name="claims",
        figure=figure,
        title="Claims of the lecture: time measured / time claimed",
        alt=f"Dot chart with one row for each of {len(shown)} claims.",
        caption=f"Times are of {baseline} unless the claim names another backend.",
    )


def _frame(ax: Axes, shown: Sequence[ClaimResult]) -> None:
    """Set up rows from the top down, and a logarithmic axis that contains every interval."""
    value, *bars = np.array([pair.over_claimed for result in shown for pair in result.pairs]).T
    ends = [value, *drawn_ends(*bars)]
    low, high = np.nanmin(ends) / _ROOM, np.nanmax(ends) * _ROOM
    ax.set(xscale="log", xlim=(min(low, 0.5), max(high, 2)))
    ax.axvline(1, color=GREY, linewidth=1, zorder=1)
    label_rows(ax, [textwrap.fill(result.claim.statement, 34) for result in shown])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    log_ratios(ax.xaxis)
    ax.set_xlabel("← cheaper than claimed     time measured / time claimed     dearer →")


def _draw_claim(ax: Axes, row: int, result: ClaimResult) -> None:
    """Draw its band, its mean, its pairs in ascending order, and its verdict on the right."""
    low, high = result.claim.band
    left = max(low, ax.get_xlim()[0])
    ax.fill_betweenx([row - 0.45, row + 0.45], left, high, color=_BAND, linewidth=0, zorder=0)
    pairs = sorted(result.pairs, key=lambda pair: pair.over_claimed.value)
    offsets = np.linspace(0.0, 0.36, len(pairs)) if len(pairs) > 1 else np.array([0.18])
    for verdict, look in _LOOKS.items():
        points = [
            (*pair.over_claimed, row + offset)
            for offset, pair in zip(offsets, pairs, strict=True)
            if pair.verdict == verdict
        ]
        if points:
            value, low_end, high_end, y = np.array(points).T
            error_bars(ax, value, y, look, x_ends=(low_end, high_end))
    mean = result.mean
    error_bars(ax, [mean.value], [row - 0.22], _MEAN, x_ends=([mean.low], [mean.high]))
    holding = sum(pair.verdict == HOLDS for pair in pairs)
    ax.annotate(
        f"{result.verdict}\n{holding} of {len(pairs)}", (1.01, row),
        xycoords=("axes fraction", "data"), va="center", fontsize=9, fontweight="bold",
        color=_LOOKS.get(result.verdict, _MEAN).color,
    )  # fmt: skip
