"""Steps from the speedup that MACs predict to the measured one, for a few separable layers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.separable.gap import PREDICTED, Gap
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots.axes import drawn_ends, label_rows
from convsweep.report.plots.style import COLORS, GREY, Picture, legend, new_figure

MOST_LAYERS = 3
_MEASURED = "measured"
_WHOLE, _LONGER, _SHORTER = COLORS[1], COLORS[6], COLORS[3]
_LEGEND = {"total": _WHOLE, "adds time": _LONGER, "saves time": _SHORTER, "95 % interval": GREY}
_ROOM = 1.12  # of the longest bar, for the number beside it


def draw(gaps: Sequence[Gap]) -> Picture | None:
    """Draw one panel for each of at most three layers of one setting; None without a gap."""
    if not gaps:
        return None
    shown = choose(gaps)
    figure = new_figure(1.0 + 2.5 * len(shown))
    panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    longest = max(_draw_layer(ax, gap) for ax, gap in zip(panels, shown, strict=True))
    panels[-1].set_xlim(0, _ROOM * longest)
    panels[-1].xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    panels[-1].set_xlabel(f"share of {SEPARABLE}'s time")
    legend(figure, {}, colors=_LEGEND)
    which = f"; drawn, of {len(gaps)} problems: fewest MACs, furthest from prediction, most MACs"
    return Picture(
        name="speedup_waterfall",
        figure=figure,
        title="From predicted to measured speedup",
        alt="Waterfall chart, one panel per layer, one bar per cause.",
        caption="On the right, the speedup with all causes up to this row"
        f"{which if len(shown) < len(gaps) else ''}.",
    )


def choose(gaps: Sequence[Gap]) -> list[Gap]:
    """Return by MACs the smallest layer, the one furthest from its MAC ratio, and the largest."""
    by_work = sorted(gaps, key=lambda gap: gap.replacement.problem.macs)
    if len(by_work) <= MOST_LAYERS:
        return by_work
    furthest = min(by_work[1:-1], key=lambda gap: gap.predicted.value)
    return [by_work[0], furthest, by_work[-1]]


def _draw_layer(ax: Axes, gap: Gap) -> float:
    """Draw the bars of one layer; return where the longest one ends."""
    speedup = gap.replacement.speedup
    steps = np.array([gap.predicted.value, *(cause.value for cause in gap.causes.values())])
    reached = np.cumsum(steps)
    starts, ends = np.array([0, *reached[:-1], 0]), np.array([*reached, 1])
    inner = [_LONGER if step > 0 else _SHORTER for step in steps[1:]]
    rows = range(len(ends))
    ax.barh(rows, ends - starts, left=starts, height=0.72, color=[_WHOLE, *inner, _WHOLE])
    ax.vlines(reached, rows[:-1], rows[1:], color=GREY, linewidth=0.8)
    (low,), (high,) = drawn_ends([speedup.value / speedup.high], [speedup.value / speedup.low])
    ax.plot([low, high], [rows[-1]] * 2, color=GREY, linewidth=3)
    for row, share in enumerate(steps[1:], 1):
        text = f"{'+' if share >= 0.005 else ''}{formatting.whole_percent(share)}"
        ax.annotate(text, (max(starts[row], ends[row]), row), xytext=(5, 0), fontsize=9,
                    va="center", textcoords="offset points")  # fmt: skip
    label_rows(ax, [PREDICTED, *gap.causes, _MEASURED])
    ax.set_title(formatting.shorten(gap.replacement.label, 60), loc="left")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    texts = [formatting.speedup(speedup.value / share) for share in reached[:-1]]
    for row, text in enumerate([*texts, "", formatting.speedup(*speedup)]):
        ax.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    return float(np.nanmax([*ends, *starts, high]))
