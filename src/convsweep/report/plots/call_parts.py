"""Parts of the time of one call, one stacked bar per backend and setting."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.report.plots.axes import label_rows
from convsweep.report.plots.style import GREY, Picture, legend, new_panel
from convsweep.results.call_parts import PARTS, UNATTRIBUTED, WHOLE

PART_COLORS = dict(zip(PARTS, (
    "#0072B2", "#E69F00", "#D55E00", "#F0E442", "#8c564b", "#a8a8a8", "#e4e4e4",
), strict=True))  # fmt: skip
_STEP_COLORS = (
    "#56B4E9", "#009E73", "#8da0cb", "#9fd8c6", "#b39ddb", "#b9d4a5", "#4fb3bf", "#c8b273",
    "#e5a7b8",
)  # fmt: skip
_DIGIT = 0.009  # of the axis: the width of a character


def draw(problem: str, calls: Mapping[str, Mapping[str, Interval]]) -> Picture:
    """Draw the parts of calls by name of backend and setting, as shares of their own call."""
    names = dict.fromkeys(name for parts in calls.values() for name in parts if name != WHOLE)
    steps = [name for name in names if name not in PART_COLORS]
    colors = {name: _STEP_COLORS[i % len(_STEP_COLORS)] for i, name in enumerate(steps)}
    colors |= {name: color for name, color in PART_COLORS.items() if name in names}
    shares = [{name: parts[name].value / parts[WHOLE].value for name in parts if name != WHOLE}
              for parts in calls.values()]  # fmt: skip
    left, right = (
        max(sum(max(0.0, sign * share) for share in own.values()) for own in shares)
        for sign in (-1, 1)
    )
    figure, ax = new_panel(1.6 + 0.36 * max(3, len(calls)))
    for y, own in enumerate(shares):
        _stack(ax, y, own, colors, _DIGIT * (left + right))
    label_rows(ax, [*calls])
    ax.set_xlim(-1.02 * left, 1.02 * right)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    ax.set_xlabel("share of the call")
    ax.set_title(formatting.shorten(problem, 60), loc="left")
    ax.annotate("time per call", (1, 1), xytext=(5, 4), xycoords="axes fraction",
                textcoords="offset points", fontsize=8.5, color=GREY)  # fmt: skip
    for y, parts in enumerate(calls.values()):
        ax.annotate(formatting.time(*parts[WHOLE]), (1, y), xytext=(5, 0), va="center",
                    xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8.5,
                    color=GREY)  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8)
    ax.grid(visible=False, axis="y")
    legend(figure, {}, colors=colors)
    return Picture(
        name="call_parts",
        figure=figure,
        title="Where the time of one call goes",
        alt="Stacked bars of parts, one per backend and setting, as shares of the call.",
        caption=f"Parts are measured with instruments; {UNATTRIBUTED} is the rest of the call.",
    )


def _stack(
    ax: Axes, y: int, shares: Mapping[str, float], colors: Mapping[str, str], digit: float
) -> None:
    """Stack positive parts to the right of zero, negative ones to its left.

    A part that has room for its percentage contains it; `digit` is the width of a character.
    """
    ends = {True: 0.0, False: 0.0}
    for name, color in colors.items():
        share = shares.get(name, 0.0)
        start = ends[share > 0]
        ax.barh(y, share, left=start, color=color, height=0.7)
        text = f"{100 * share:.0f}"
        if abs(share) >= digit * (len(text) + 1):
            ax.text(start + share / 2, y, text, ha="center", va="center", fontsize=8)
        ends[share > 0] += share
