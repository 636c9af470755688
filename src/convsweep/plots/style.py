"""How every figure looks: colours for colour-blind eyes, a marker for each line, sizes, PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from convsweep.labels import seconds

WIDTH = 9.0  # inches; at 150 dots an inch twice what a README shows
DPI = 150

# Okabe & Ito (2008), Color Universal Design; yellow last, as it is faint on white.
COLORS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
GREY = "#6b6b6b"

_STYLE = {
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

    def called(self, name: str) -> Picture:
        """The same picture under another file name."""
        return replace(self, name=name)


class Look(NamedTuple):
    """Colour, marker and dashes of one backend or device in all figures of a run."""

    color: str
    marker: str
    linestyle: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; past eight names the colours come again with other markers."""
    dashes = ("-", "--", ":")
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], dashes[i // len(COLORS) % 3])
        for i, name in enumerate(names)
    }


def style() -> matplotlib.RcParams | object:
    """The context in which figures are made and saved."""
    return matplotlib.rc_context(_STYLE)


def new_figure(height: float, title: str) -> Figure:
    """An empty figure with the finding on top."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(textwrap.fill(title, 86), x=0.01, ha="left", fontweight="bold")
    return figure


def legend(figure: Figure, shown: dict[str, Look], *, joined: bool = True) -> None:
    """One legend for all panels, below them."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker,
               linestyle=look.linestyle if joined else "none", label=name)
        for name, look in shown.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))


def log_seconds(axis: Axis) -> None:
    """A logarithmic axis of seconds, ticked as 10 µs, 1 ms, 1 s."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(10, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_seconds(value)))
    axis.set_minor_formatter(NullFormatter())


def short_seconds(value: float) -> str:
    """`0.00001` as `10 µs`."""
    number, unit = seconds(value).split()
    return f"{float(number.replace(',', '')):g} {unit}"


def log_ticks_at(axis: Axis, values: Iterable[float]) -> None:
    """A logarithmic axis ticked at the measured values, thinned to what fits."""
    ticks = sorted(set(values))
    step = -(-len(ticks) // 7)
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(FixedLocator(ticks[::step]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(FixedLocator([]))


def png(figure: Figure) -> bytes:
    """The figure as a PNG, the same bytes for the same figure."""
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def error_bars(
    ax: Axes, x: Sequence[float], y: Sequence[float], low: Sequence[float], high: Sequence[float],
    look: Look, *, along: str = "y",
) -> None:  # fmt: skip
    """Markers with their intervals along one axis; no bar where there is no interval."""
    center = y if along == "y" else x
    spread = [
        [c - a for c, a in zip(center, low, strict=True)],
        [b - c for c, b in zip(center, high, strict=True)],
    ]
    ax.errorbar(
        x, y, **{f"{along}err": spread}, color=look.color, marker=look.marker, linestyle="none",
        markersize=6, capsize=2.5, elinewidth=1.2, alpha=0.9,
    )  # fmt: skip
