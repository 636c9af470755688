"""Roofline: the machine's measured ceilings, and one point per case."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.estimates import Array
from convsweep.analysis.families.candidates import Role
from convsweep.analysis.roofline import Roof, RooflineEfficiency, known_points, roofs
from convsweep.analysis.run import Run, top_backends
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.plots.axes import log_ratios
from convsweep.report.plots.style import (
    Look,
    Picture,
    legend,
    looks,
    marker_handle,
    new_panel,
    sentence,
)

PART_LOOKS = {DEPTHWISE: Look("#E69F00", "v"), POINTWISE: Look("#56B4E9", "^")}
MOST_BACKENDS = 8
_HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.3}
_FEW = 60  # points of one backend that are drawn large


def draw(run: Run, found: Sequence[RooflineEfficiency]) -> Picture | None:
    """Draw one setting; None if its ceilings or all its cases have no time."""
    known = run._replace(cases=run.cases[run.cases["backend_family"] != Role.ENGINES])
    shown = top_backends(known, MOST_BACKENDS)
    parts = set(PART_LOOKS) if SEPARABLE in shown.backends else set()
    found = [each for each in found if each.name in shown.backends or each.name.split()[0] in parts]
    roof = next(iter(roofs(run.ceilings).values()), None) if len(run.ceilings) else None
    if roof is None or not found:
        return None
    points = {each.name: _points_of(run, each.name) for each in found}
    figure, ax = new_panel(5.8)
    filled = {name: look for name, look in looks(run.backends).items() if name in points}
    hollow = {name: PART_LOOKS[name.split()[0]] for name in points if name not in filled}
    for name, look in (filled | hollow).items():
        more = _HOLLOW if name in hollow else {"markeredgewidth": 0}
        ax.plot(points[name]["intensity"], points[name]["rate"], color=look.color,
                marker=look.marker, linestyle="none", alpha=0.75,
                markersize=6 if len(points[name]) <= _FEW else 4, **more)  # fmt: skip
    intensities = np.concatenate([rows["intensity"] for rows in points.values()])
    rates = np.concatenate([rows["rate"] for rows in points.values()])
    lines = [marker_handle(look, name, **_HOLLOW) for name, look in hollow.items()]
    lines += _frame(ax, roof, intensities, rates)
    legend(figure, filled, joined=False, lines=lines)
    reached = formatting.percent(found[0].efficiency.value)
    beaten = rates.max() > roof.flops_per_s
    return Picture(
        name="roofline",
        figure=figure,
        title="Rate by arithmetic intensity (roofline)",
        alt="Scatter chart, one point per problem and backend, and the measured ceilings.",
        caption=sentence(
            f"{found[0].name} reaches {reached} of the attainable rate on average",
            "points above the line beat the measured matrix product" * bool(beaten),
            drawn=(len(filled), len(run.backends)),
            noun="backends",
        ),
    )


def _points_of(run: Run, name: str) -> DataFrame:
    """Return the points of a backend, or of a part of separable layers such as `depthwise ...`."""
    if name in run.backends:
        return known_points(run.cases[run.cases["backend"] == name])
    return known_points(run.separable_parts[run.separable_parts["layer"] == name.split()[0]])


def _frame(ax: Axes, roof: Roof, intensities: Array, rates: Array) -> list[Line2D]:
    """Set up the axes; return the roofs: the slopes of copies, the height of a matrix product."""
    top, fastest, slowest = roof.flops_per_s, roof.bytes_per_s.max(), roof.bytes_per_s[-1]
    left, right = intensities.min() / 2, max(intensities.max(), top / slowest) * 2
    low, high = rates.min() / 2, max(rates.max(), top) * 2
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    log_ratios(ax.xaxis)
    log_ratios(ax.yaxis, scale=1e9)
    ax.set_xlabel("arithmetic intensity (FLOPs per byte moved at least)")
    ax.set_ylabel("rate (GFLOP/s of the backend's own operations)")
    lines = ax.plot([top / fastest, right], [top, top], color="black", linewidth=1.6, zorder=1,
                    label=f"matrix product {formatting.digits(top / 1e9)} GFLOP/s")  # fmt: skip
    copies = [(fastest, "copy in cache", "--"), (slowest, "copy in memory", ":")]
    if len(roof.bytes_per_s) == 1:
        copies = [(slowest, "copy", ":")]
    for rate, name, style in copies:
        lines += ax.plot([left, top / rate], [left * rate, top], color="black", linewidth=1.6,
                         linestyle=style, zorder=1,
                         label=f"{name} {formatting.digits(rate / 1e9)} GB/s")  # fmt: skip
    return lines
