"""How every figure looks: colours for colour-blind eyes, a marker for each line, sizes, PNG."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from convsweep.formatting import seconds, slug

if TYPE_CHECKING:
    from pandas import Series

    Values = Sequence[float] | Series[float]

WIDTH = 9.0  # inches; at 150 dots an inch twice what a README shows
DPI = 150

# Okabe & Ito (2008), Color Universal Design; yellow last, as it is faint on white.
COLORS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
GREY = "#6b6b6b"
_HANDLE, _LETTER = 0.65, 0.078  # inches that a legend's mark and a letter take

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 12,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Picture:
    """A figure, and what to say about it: the finding, the picture in words, how to read it."""

    name: str
    figure: Figure
    title: str
    alt: str
    caption: str

    def of(self, setting: str) -> Picture:
        """The same picture, named and titled after the setting that it shows."""
        return replace(
            self, name=f"{self.name}_{slug(setting)}", title=f"On {setting}: {self.title}"
        )

    def with_title_drawn(self) -> Picture:
        """The same picture, its title on top of the figure."""
        text = re.sub(r"(?<=\d) (?=(ns|µs|ms|s)\b)", "\N{NO-BREAK SPACE}", self.title)
        self.figure.suptitle(textwrap.fill(text, 86), x=0.01, ha="left", fontweight="bold")
        return self


LineStyle = Literal["-", "--", ":", "none"]


class Look(NamedTuple):
    """Colour, marker and dashes of one backend or device in all figures of a run."""

    color: str
    marker: str
    linestyle: LineStyle


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; past eight names the colours come again with other markers."""
    dashes: tuple[LineStyle, ...] = ("-", "--", ":")
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], dashes[i // len(COLORS) % 3])
        for i, name in enumerate(names)
    }


def drawing_style() -> AbstractContextManager[None]:
    """The context in which figures are made and saved."""
    return matplotlib.rc_context(_STYLE)


def new_figure(height: float) -> Figure:
    """An empty figure as wide as a page."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def legend(
    figure: Figure, shown: dict[str, Look], *, joined: bool = True, lines: Sequence[Line2D] = ()
) -> None:
    """One legend for all panels, below them; `lines` are what else is drawn and labelled."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker,
               linestyle=look.linestyle if joined else "none", label=name)
        for name, look in shown.items()
    ]  # fmt: skip
    handles += lines
    columns = fitting_columns([str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def fitting_columns(entries: Sequence[str]) -> int:
    """How many columns of a legend fit on a page, at most six; each is as wide as it must be."""
    for columns in range(min(6, len(entries)), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(entries, columns)]
        if sum(_HANDLE + _LETTER * letters for letters in longest) <= WIDTH:
            return columns
    return 1


def lay_panels(figure: Figure, number: int, x_label: str, y_label: str = "") -> list[Axes]:
    """So many panels on common axes, at most three a row; the lowest of each column is labelled."""
    columns = 2 if number == 4 else min(3, number)
    grid = figure.subplots(
        math.ceil(number / columns), columns, sharex=True, sharey=True, squeeze=False
    )
    for ax in grid[:, 0]:
        ax.set_ylabel(y_label)
    for ax in grid.flat[number:]:
        ax.set_axis_off()
    for ax in grid.flat[max(0, number - columns) : number]:
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(x_label)
    return list(grid.flat[:number])


def log_seconds(ax: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis of seconds, ticked as 10 µs, 1 ms, 1 s."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(LogLocator(10, numticks=12 if which == "y" else 5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_seconds(value)))
    axis.set_minor_locator(NullLocator())


def short_seconds(value: float) -> str:
    """`0.00001` as `10 µs`."""
    number, unit = seconds(value).split()
    return f"{float(number.replace(',', '')):g} {unit}"


def log_ticks_at(ax: Axes, values: Iterable[float]) -> None:
    """A logarithmic x axis ticked at the measured values, thinned to what fits."""
    ticks = sorted(set(values))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 7)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def png(figure: Figure) -> bytes:
    """The figure as a PNG; the same run gives the same bytes."""
    file = io.BytesIO()
    with drawing_style():
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def error_bars(
    ax: Axes, x: Values, y: Values, low: Values, high: Values, look: Look, *, along: str = "y"
) -> None:
    """Markers with their intervals along one axis; no bar where there is no interval."""
    center = np.asarray(y if along == "y" else x, dtype=float)
    spread = np.stack([center - np.asarray(low), np.asarray(high) - center])
    ax.errorbar(
        x, y, xerr=spread if along == "x" else None, yerr=spread if along == "y" else None,
        color=look.color, marker=look.marker, linestyle="none", markersize=6, capsize=2.5,
        elinewidth=1.2, alpha=0.9,
    )  # fmt: skip
