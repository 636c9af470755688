"""The machine's ceilings as roofs, and every case as a point under them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.estimates import Array
from convsweep.analysis.roofline import Roof, RooflineEfficiency, known_points, roofs
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import MAX_EFFICIENCY, Explanation
from convsweep.problems.separable import DEPTHWISE, POINTWISE
from convsweep.report.plots.separable_parts import PART_COLORS
from convsweep.report.plots.style import Look, Picture, legend, looks, new_figure

if TYPE_CHECKING:
    from pandas import DataFrame

PART_LOOKS = {
    "depthwise part": Look(PART_COLORS[DEPTHWISE], "v", "none"),
    "pointwise part": Look(PART_COLORS[POINTWISE], "^", "none"),
}
_FEW = 60  # points of one backend that are drawn large


def draw(
    run: Run, found: Sequence[RooflineEfficiency], explanation: Explanation | None
) -> Picture | None:
    """The roofline of one setting; None where its ceilings or all cases have no time."""
    roof = next(iter(roofs(run.ceilings).values()), None) if len(run.ceilings) else None
    if roof is None or not found:
        return None
    points = {attained.name: _points_of(run, attained.name) for attained in found}
    figure = new_figure(5.8)
    ax = figure.subplots()
    shown = {
        name: look for name, look in (looks(run.backends) | PART_LOOKS).items() if name in points
    }
    for name, look in shown.items():
        _draw_points(ax, points[name], look, hollow=name in PART_LOOKS)
    intensities = np.concatenate([rows["intensity"] for rows in points.values()])
    rates = np.concatenate([rows["rate"] for rows in points.values()])
    lines = _hollow_handles(shown) + _frame(ax, roof, intensities, rates)
    filled = {name: look for name, look in shown.items() if name not in PART_LOOKS}
    legend(figure, filled, joined=False, lines=lines)
    return Picture(
        name="roofline",
        figure=figure,
        title=finding(run, found, explanation),
        alt=_alt(found, roof),
        caption=_caption(run, found),
    )


def _points_of(run: Run, name: str) -> DataFrame:
    if name in PART_LOOKS:
        return known_points(
            run.separable_parts[run.separable_parts["layer"] == name.removesuffix(" part")]
        )
    return known_points(run.cases[run.cases["backend"] == name])


def _draw_points(ax: Axes, rows: DataFrame, look: Look, *, hollow: bool) -> None:
    ax.plot(
        rows["intensity"], rows["rate"], linestyle="none", marker=look.marker, color=look.color,
        markersize=6 if len(rows) <= _FEW else 4, alpha=0.75,
        markerfacecolor="none" if hollow else look.color, markeredgewidth=1.3 if hollow else 0,
    )  # fmt: skip


def _hollow_handles(shown: Mapping[str, Look]) -> list[Line2D]:
    """The legend's entries of halves, hollow as their points are."""
    return [
        Line2D([], [], color=look.color, marker=look.marker, markerfacecolor="none",
               markeredgewidth=1.3, linestyle="none", label=name)
        for name, look in shown.items()
        if name in PART_LOOKS
    ]  # fmt: skip


def _frame(ax: Axes, roof: Roof, intensities: Array, rates: Array) -> list[Line2D]:
    """The axes, and the roofs: a copy's slope up to the matrix product's height."""
    top, fastest, slowest = roof.flops_per_s, roof.bytes_per_s.max(), roof.bytes_per_s[-1]
    left, right = intensities.min() / 2, max(intensities.max(), top / slowest) * 2
    low, high = rates.min() / 2, max(rates.max(), top) * 2
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(10))
        axis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e9:g}"))
    ax.set_xlabel("arithmetic intensity (flops for each byte moved at best)")
    ax.set_ylabel("rate (GFLOP/s of what the backend multiplies)")
    drawn = ax.plot([top / fastest, right], [top, top], color="black", linewidth=1.6, zorder=1,
                    label=f"matrix product {formatting.digits(top / 1e9)} GFLOP/s")  # fmt: skip
    copies = [(fastest, "copy in cache", "--"), (slowest, "copy in memory", ":")]
    if len(roof.bytes_per_s) == 1:
        copies = [(slowest, "copy", ":")]
    for rate, words, style in copies:
        drawn += ax.plot([left, top / rate], [left * rate, top], color="black", linewidth=1.6,
                         linestyle=style, zorder=1,
                         label=f"{words} {formatting.digits(rate / 1e9)} GB/s")  # fmt: skip
    return drawn


def finding(run: Run, found: Sequence[RooflineEfficiency], explanation: Explanation | None) -> str:
    """How near the standard layers and the parts come to their ceilings; else every backend."""
    if explanation is None or math.isnan(explanation.roofline_speedup):
        efficiency = {attained.name: attained.efficiency.value for attained in found[:4]}
    else:
        means = {name: share.value for name, share in explanation.efficiency.items()}
        efficiency = {
            f"{run.baseline} on standard layers": means["standard"],
            "the depthwise part": means[DEPTHWISE],
            "the pointwise part": means[POINTWISE],
        }
    far = max(efficiency, key=lambda name: efficiency[name])
    if efficiency[far] > MAX_EFFICIENCY:
        dtype = run.cases["dtype"].iloc[0]
        said = f"The measured ceiling is no ceiling for {dtype}: {far} reaches"
        return f"{said} {_rounded(efficiency[far])} of it{_alone(found)}"
    (first, share), *others = efficiency.items()
    told = [f"{first} reaches {_rounded(share)} of what the machine allows"]
    told += [f"{name} {_rounded(share)}" for name, share in others]
    return ", ".join(told) + _alone(found)


def _alone(found: Sequence[RooflineEfficiency]) -> str:
    """Why there is no interval, where there is none."""
    unsure = all(math.isnan(attained.efficiency.low) for attained in found)
    return " (one pass: no interval)" if unsure else ""


def _rounded(share: float) -> str:
    return f"{formatting.format_ratio(100 * share)} %"


def _alt(found: Sequence[RooflineEfficiency], roof: Roof) -> str:
    said = [
        f"{attained.name} {_rounded(attained.least)} to {_rounded(attained.most)}"
        for attained in found
    ]
    copies = [
        formatting.digits(rate / 1e9) for rate in (roof.bytes_per_s.max(), roof.bytes_per_s[-1])
    ]
    return (
        "Roofline, both axes logarithmic: rate against arithmetic intensity under the "
        f"{formatting.digits(roof.flops_per_s / 1e9)} GFLOP/s of a matrix product and the "
        f"{' to '.join(copies)} GB/s of a copy. Of what is attainable: {', '.join(said)}."
    )


def _caption(run: Run, found: Sequence[RooflineEfficiency]) -> str:
    said = [
        f"A point a problem and backend on {run.settings[0]}: what the backend itself multiplies, "
        "over the bytes that it moves at least and over its time. Lines are the machine's ceilings "
        "as measured; between the dashed and the dotted one lie copies of other sizes."
    ]
    if any(attained.name in PART_LOOKS for attained in found):
        said.append(
            "Hollow triangles are the parts of separable layers, each timed alone; one that "
            "several problems share is one point, and counts once for each of them."
        )
    if any(attained.most > 1 for attained in found):
        said.append(
            "A point above its roof was faster than the ceiling as measured: in another shape, or "
            "in a quieter moment."
        )
    return " ".join(said)
