"""Panels, tick labels, intervals and selections that several figures share."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator
from pandas import Series

from convsweep.analysis.estimates import Array
from convsweep.formatting import WIDEST, seconds, shorten
from convsweep.report.plots.style import Look, new_figure

Values: TypeAlias = "Sequence[float] | Series[float]"
_LETTERS = {1: 90, 2: 44, 3: 28}  # of a line above a panel, by panels per row
_TICKS = {25: (1, 1.5, 2, 3, 4, 5, 6, 8), 5000: (1, 2, 5)}  # by the ratio of an axis' ends
_FEW_TICKS = {20: (1, 2, 5), 100: (1, 3)}
_LONGEST_NAME = 60  # letters of a row's name


def panel_columns(number: int) -> int:
    """Return the number of panels per row."""
    return 2 if number == 4 else min(3, number)


def panel_figure(
    names: Sequence[str], x_label: str, y_label: str = "", *,
    each: float, more: float, shared: bool = True,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """Return a figure with one panel per name, labelled on the left and at the bottom.

    There are at most three panels per row; a row is `each` inches high, all else `more`.
    """
    columns = panel_columns(len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(more + rows * each)
    grid = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
    for ax in grid.flat[len(names) :]:
        ax.set_axis_off()
    for ax in grid[:, 0]:
        ax.set_ylabel(y_label)
    panels = list(grid.flat[: len(names)])
    for ax in panels[-columns:]:
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(x_label)
    for ax, name in zip(panels, names, strict=True):
        ax.set_title(textwrap.fill(name, _LETTERS[columns]), loc="left")
    return figure, panels


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows 0, 1, ... of a chart, from the top down."""
    ax.set_yticks(range(len(names)), [shorten(name, _LONGEST_NAME) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)


def as_cells(ax: Axes) -> None:
    """Remove grid, ticks and frame from a panel of coloured cells."""
    ax.grid(visible=False)
    ax.tick_params(length=0, which="both")
    ax.spines[:].set_visible(False)


def log_ratios(axis: Axis, scale: float = 1) -> None:
    """Tick a logarithmic axis as 0.5, 1, 2; values are divided by `scale` for display."""
    low, high = axis.get_view_interval()
    subs = next((subs for span, subs in _TICKS.items() if high < span * low), (1.0,))
    axis.set_major_locator(LogLocator(10, subs=subs))
    axis.set_major_formatter(lambda value, _: f"{value / scale:g}")
    axis.minorticks_off()


def log_seconds(ax: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis of seconds logarithmic, ticked as 10 µs, 1 ms, 1 s."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    subs = next((subs for span, subs in _FEW_TICKS.items() if high < span * low), (1.0,))
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=12 if which == "y" else 5))
    axis.set_major_formatter(lambda value, _: short(seconds(value)))
    axis.minorticks_off()


def linear_seconds(ax: Axes) -> None:
    """Tick a linear x axis of seconds as 0, 1 ms, 2 ms."""
    ax.xaxis.set_major_formatter(lambda value, _: short(seconds(round(value, 12))))


def short(text: str) -> str:
    """Return `10.0 µs` as `10 µs`, and 0 without a unit."""
    number, unit = text.split()
    value = float(number.replace(",", ""))
    return f"{value:g} {unit}" if value else "0"


def log_ticks_at(ax: Axes, values: Iterable[float]) -> None:
    """Make the x axis logarithmic and tick it at the given values, thinned to what fits."""
    ticks = sorted(set(values))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 7)]))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.minorticks_off()


def drawn_ends(low: Values, high: Values) -> tuple[Array, Array]:
    """Return the ends of intervals; NaN for those that are too wide to be drawn."""
    ends = np.array([low, high], dtype=float)
    least, most = np.where(ends[1] > WIDEST * np.maximum(ends[0], 0), np.nan, ends)
    return least, most


def error_bars(
    ax: Axes, x: Values, y: Values, look: Look, *,
    x_ends: tuple[Values, Values] | None = None, y_ends: tuple[Values, Values] | None = None,
) -> None:  # fmt: skip
    """Draw markers with their intervals; open ones if an interval is NaN or too wide for a bar."""

    def spread(center: Values, ends: tuple[Values, Values] | None) -> Any:
        if ends is None:
            return None
        (low, high), values = drawn_ends(*ends), np.asarray(center, dtype=float)
        return np.stack([values - low, high - values])

    points = np.array([x, y], dtype=float)
    bars = [np.zeros((2, len(x))) if one is None else one
            for one in (spread(x, x_ends), spread(y, y_ends))]  # fmt: skip
    unknown = np.isnan(bars).any(axis=(0, 1))
    for own, face in ((~unknown, look.color), (unknown, "none")):
        x_bars, y_bars = (None if ends is None else bar[:, own]
                          for bar, ends in zip(bars, (x_ends, y_ends), strict=True))  # fmt: skip
        ax.errorbar(
            points[0, own], points[1, own], yerr=y_bars, xerr=x_bars, color=look.color,
            markerfacecolor=face,
            marker=look.marker, linestyle="none", markersize=6, capsize=2.5, elinewidth=1.2,
            alpha=0.9,
        )  # fmt: skip


def evenly(number: int, most: int) -> list[int]:
    """Return at most `most` places below `number`: both ends, evenly spread, or the middle."""
    if number <= most:
        return list(range(number))
    if most == 1:
        return [number // 2]
    return sorted({round(i * (number - 1) / (most - 1)) for i in range(most)})


def evenly_by_work(macs: Sequence[int], most: int) -> list[int]:
    """Return at most `most` places, evenly spread over the MACs, in ascending order."""
    by_work = sorted(range(len(macs)), key=lambda place: macs[place])
    return sorted(by_work[place] for place in evenly(len(macs), most))
