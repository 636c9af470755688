"""What fewer multiplications promise and what they bring: predicted and measured speedup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.run import Run, mac_ratio, undecided
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    MARKERS,
    Look,
    Picture,
    error_bars,
    legend,
    new_figure,
)

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_GROUPS = 6
NAME_WIDTH = 0.045  # of the axis
APART = 0.008  # of the promise: how far problems of one promise stand apart, by size
WIDE = 25  # from the one end of an axis to the other: fewer ticks


def draw(run: Run, backend: str) -> Picture | None:
    """One backend's speedups in one setting; None where it has none with fewer MACs."""
    cases = run.cases.assign(promised=mac_ratio(run))
    cases = cases[
        (cases["backend"] == backend) & cases["speedup"].notna() & (cases["promised"] > 1)
    ]
    if cases.empty:
        return None
    title = finding(cases, backend, run.baseline)
    figure = new_figure(5.6)
    ax = figure.subplots()
    groups = _groups(cases)
    for size, look in groups.items():
        part = cases[cases["input_size"] == size] if size else cases
        beside = (list(groups).index(size) - (len(groups) - 1) / 2) * APART
        error_bars(ax, part["promised"] * (1 + beside), part["speedup"], part["speedup_ci_low"],
                   part["speedup_ci_high"], look)  # fmt: skip
    lines = _frame(ax, cases, backend, run.baseline)
    sizes = {f"input {size}": look for size, look in groups.items() if size}
    legend(figure, sizes, joined=False, lines=lines)
    return Picture(
        name=f"predicted_speedup_{formatting.slug(backend)}",
        figure=figure,
        title=title,
        alt=_alt(cases, backend, run.baseline),
        caption=_caption(run, cases),
    )


def _groups(cases: DataFrame) -> dict[str, Look]:
    """A look for each input size, from small to large; one for all where there are too many."""
    pixels = cases["macs"].groupby(cases["input_size"]).min().sort_values()
    if not 1 < len(pixels) <= MOST_GROUPS:
        return {"": Look(COLORS[1], MARKERS[0], "none")}
    shades = colormaps["viridis"]
    return {
        str(size): Look(to_hex(shades(0.85 * i / (len(pixels) - 1))), MARKERS[i], "none")
        for i, size in enumerate(pixels.index)
    }


def _frame(ax: Axes, cases: DataFrame, backend: str, baseline: str) -> list[Line2D]:
    """The axes, and the lines where the promise is kept and where nothing is gained."""
    promised = cases["promised"]
    ends = cases[["speedup", "speedup_ci_low", "speedup_ci_high"]].to_numpy(dtype="float64")
    low = min(0.9, np.nanmin(ends) / 1.25)
    high = max(np.nanmax(ends), promised.max()) * 1.15
    left, right = promised.min() / 1.12, promised.max() * 1.12
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    promise = ax.plot([left, right], [left, right], color=GREY, linestyle="--", linewidth=1,
                      zorder=1, label="as the MACs promise")  # fmt: skip
    even = ax.axhline(1, color=GREY, linewidth=1, zorder=1, label=f"as fast as {baseline}")
    ax.set_xlabel(f"predicted: MACs of the convolution / MACs of {backend} (times)")
    ax.set_ylabel(f"measured speedup over {baseline} (times)")
    for axis, span in ((ax.xaxis, right / left), (ax.yaxis, high / low)):
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < WIDE else (1, 2, 5)
        axis.set_major_locator(LogLocator(10, subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    _name_columns(ax, cases)
    return [*promise, even]


def _name_columns(ax: Axes, cases: DataFrame) -> None:
    """Write the output channels above the columns that depend on nothing else, where they fit."""
    columns = cases.groupby(cases["promised"].round(6))[["out_channels", "kernel_size"]]
    if (columns.nunique() > 1).any(axis=None):
        return
    several = cases["kernel_size"].nunique() > 1
    room = NAME_WIDTH * (1.5 if several else 1) * np.log(ax.get_xlim()[1] / ax.get_xlim()[0])
    last = 0.0
    for promised, channels, kernel in columns.first().reset_index().to_numpy():
        if last and np.log(promised / last) < room:
            continue
        last = promised
        name = f"C{channels}" + (f" k{formatting.compact(kernel)}" if several else "")
        ax.annotate(name, (promised, 1), xycoords=("data", "axes fraction"),
                    ha="center", va="bottom", fontsize=9, color=GREY)  # fmt: skip


def finding(cases: DataFrame, backend: str, baseline: str) -> str:
    """How much faster from where on, and what the arithmetic promised."""
    decided = cases[~undecided(cases)]
    promise = f"MACs promise {formatting.times(cases['promised'].min(), cases['promised'].max())}"
    wins = decided[decided["verdict"] == "faster"]
    if decided.empty:
        return f"{backend} against {baseline}: no difference is decided"
    if wins.empty:
        return (
            f"{backend} is not faster than {baseline} in any of "
            f"{formatting.count(len(cases), 'problem')}; {promise}"
        )
    by = formatting.times(wins["speedup"].min(), wins["speedup"].max())
    kept = f"MACs promise {formatting.times(wins['promised'].min(), wins['promised'].max())} there"
    where = f"in {len(wins)} of {formatting.count(len(cases), 'problem')}"
    if len(wins) == len(cases):
        where, kept = f"in all {formatting.count(len(cases), 'problem')}", promise
    elif start := _from_where(cases):
        where = start
    return f"{backend} is {by} as fast as {baseline} {where}; {kept}"


def _from_where(cases: DataFrame) -> str:
    """From how many input channels on every case is faster; empty where one below it is.

    Empty too where ranks differ, or that number of channels lacks a size that others have.
    """
    faster = cases["verdict"] == "faster"
    start = int(cases.loc[faster, "in_channels"].min())
    edge = cases.loc[cases["in_channels"] == start, "input_size"]
    whole = edge.nunique() == cases["input_size"].nunique()
    one_rank = cases["input_size"].str.count("x").nunique() == 1
    if not (whole and one_rank and (faster == (cases["in_channels"] >= start)).all()):
        return ""
    return f"from {start} channels on"


def _alt(cases: DataFrame, backend: str, baseline: str) -> str:
    return (
        f"Scatter chart of {formatting.count(len(cases), 'problem')}: speedup of {backend} over "
        f"{baseline} as measured, {formatting.times(cases['speedup'].min(), cases['speedup'].max())}, "
        f"against the one predicted from MACs, "
        f"{formatting.times(cases['promised'].min(), cases['promised'].max())}."
    )


def _caption(run: Run, cases: DataFrame) -> str:
    below = int((cases["speedup"] < cases["promised"]).sum())
    said = [
        f"A point a problem, on {run.settings[0]}; {below} of {len(cases)} lie below the dashed "
        "diagonal, where the speedup would be what the MACs promise."
    ]
    if len(_groups(cases)) > 1:
        said.append("Sizes of one promise stand side by side.")
    if cases["speedup_ci_low"].notna().any():
        said.append("Bars are 95 % intervals over passes.")
    else:
        said.append("One pass gives no interval.")
    if undecided(cases).any():
        said.append(f"{formatting.count(int(undecided(cases).sum()), 'case')} undecided.")
    return " ".join(said)
