"""Measured speedup of one backend against the speedup predicted from MAC counts."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.run import Run, mac_ratio
from convsweep.report.plots.axes import drawn_ends, error_bars, log_ratios
from convsweep.report.plots.style import COLORS, GREY, MARKERS, Look, Picture, legend, new_panel

MOST_GROUPS = 6
_OFFSET = 0.008  # of the prediction, between problems of one prediction, by size


def draw(run: Run, backend: str) -> Picture | None:
    """Draw one backend's speedups in one setting; None if it has none with fewer MACs."""
    cases = run.cases.assign(predicted=mac_ratio(run))
    cases = cases[
        (cases["backend"] == backend) & cases["speedup"].notna() & (cases["predicted"] > 1)
    ]
    if cases.empty:
        return None
    figure, ax = new_panel(5.6)
    groups = _groups(cases)
    for i, (size, look) in enumerate(groups.items()):
        part = cases[cases["input_size"] == size] if size else cases
        x = part["predicted"] * (1 + (i - (len(groups) - 1) / 2) * _OFFSET)
        error_bars(ax, x, part["speedup"], look,
                   y_ends=(part["speedup_ci_low"], part["speedup_ci_high"]))  # fmt: skip
    lines = _frame(ax, cases, backend, run.baseline)
    sizes = {f"input {size}": look for size, look in groups.items() if size}
    legend(figure, sizes, joined=False, lines=lines)
    below = int((cases["speedup"] < cases["predicted"]).sum())
    return Picture(
        name=f"predicted_speedup_{formatting.slug(backend)}",
        figure=figure,
        title=f"Speedup of {formatting.shorten(backend)}, measured and predicted from MACs",
        alt="Scatter chart, one point per problem.",
        caption=f"{below} of {len(cases)} problems are slower than predicted.",
    )


def _groups(cases: DataFrame) -> dict[str, Look]:
    """Return one look per input size, in ascending order; a single one if there are too many."""
    pixels = cases["macs"].groupby(cases["input_size"]).min().sort_values()
    if not 1 < len(pixels) <= MOST_GROUPS:
        return {"": Look(COLORS[1], MARKERS[0])}
    shades = colormaps["viridis"]
    return {
        str(size): Look(to_hex(shades(0.85 * i / (len(pixels) - 1))), MARKERS[i])
        for i, size in enumerate(pixels.index)
    }


def _frame(ax: Axes, cases: DataFrame, backend: str, baseline: str) -> list[Line2D]:
    """Set up the axes; return the lines of the predicted speedup and of no speedup."""
    predicted = cases["predicted"]
    ends = [
        cases["speedup"].to_numpy(),
        *drawn_ends(cases["speedup_ci_low"], cases["speedup_ci_high"]),
    ]
    low = min(0.9, np.nanmin(ends) / 1.25)
    high = max(np.nanmax(ends), predicted.max()) * 1.15
    left, right = predicted.min() / 1.12, predicted.max() * 1.12
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    diagonal = ax.plot([left, right], [left, right], color=GREY, linestyle="--", linewidth=1,
                       zorder=1, label="as predicted from MACs")  # fmt: skip
    even = ax.axhline(1, color=GREY, linewidth=1, zorder=1, label=f"as fast as {baseline}")
    ax.set_xlabel(f"predicted speedup: MACs of the convolution / MACs of {backend}")
    ax.set_ylabel(f"measured speedup: {baseline}'s time / {backend}'s time")
    log_ratios(ax.xaxis)
    log_ratios(ax.yaxis)
    return [*diagonal, even]
