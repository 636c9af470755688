"""Speedup over the baseline against the numerical error of each backend."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.estimates import Array, Estimate, equal_mean, estimate
from convsweep.analysis.families.candidates import Candidates, log_speedups
from convsweep.analysis.verdicts import verdicts
from convsweep.report.plots.axes import log_ratios
from convsweep.report.plots.family_style import FAMILY_COLORS, FAMILY_WORDS, family_looks
from convsweep.report.plots.style import GREY, Picture, color_handles, legend, new_panel


class BackendPoint(NamedTuple):
    """Cases of one backend, and their geometric means."""

    speedups: Array
    mean: Estimate  # of the logarithms of all speedups, every case with the same weight
    errors: Array

    @property
    def speedup(self) -> float:
        """Geometric mean of the speedups."""
        return float(np.exp(self.mean.mean))

    @property
    def error(self) -> float:
        """Geometric mean of the errors."""
        return float(np.exp(np.log(self.errors).mean()))


def draw(field: Candidates) -> Picture | None:
    """Draw the cases and the mean of each backend; None if only the baseline has both values."""
    field = field.dense_weights
    points = _points(field)
    if not points.keys() - {field.baseline}:
        return None
    shown = {name: look for name, look in family_looks(field).items() if name in points}
    figure, ax = new_panel(5.6)
    for name, look in shown.items():
        point = points[name]
        ax.plot(point.errors, point.speedups, color=look.color, marker=look.marker,
                linestyle="none", markersize=3.5, alpha=0.3, markeredgewidth=0)  # fmt: skip
        ax.plot(point.error, point.speedup, color=look.color, marker=look.marker, linestyle="none",
                markersize=10, markerfacecolor="none", markeredgewidth=2, zorder=3)  # fmt: skip
    ax.axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    _frame(ax, field)
    colors = {look.color for look in shown.values()}
    families = {FAMILY_WORDS[f]: color for f, color in FAMILY_COLORS.items() if color in colors}
    legend(figure, shown, joined=False, lines=color_handles(families))
    return Picture(
        name="speed_vs_error",
        figure=figure,
        title="Speedup by numerical error",
        alt="Scatter chart, one small dot per case and one large open mark per backend.",
        caption=_finding(field, points),
    )


def _points(field: Candidates) -> dict[str, BackendPoint]:
    """Return the backends that have a speedup and an error above zero in some case."""
    logs = log_speedups(field)
    speedups = np.exp(estimate(logs).mean)
    errors = field.cases["relative_err"].to_numpy(dtype="float64")
    known = ~np.isnan(speedups) & (errors > 0)
    found = {}
    for name in dict.fromkeys(field.cases.loc[known, "backend"]):
        own = known & (field.cases["backend"] == name).to_numpy(dtype=bool)
        found[str(name)] = BackendPoint(speedups[own], equal_mean(logs[own]), errors[own])
    return found


def _frame(ax: Axes, field: Candidates) -> None:
    ax.set(xscale="log", yscale="log")
    ax.margins(0.08)
    log_ratios(ax.yaxis)
    log_ratios(ax.xaxis)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    ax.set_xlabel("relative error: largest difference / largest output")
    ax.set_ylabel(f"speedup over {formatting.shorten(field.baseline_label)}")


def _finding(field: Candidates, points: dict[str, BackendPoint]) -> str:
    """Name the backend with the largest mean speedup among the significantly faster ones."""
    others = {name: point for name, point in points.items() if name != field.baseline}
    means = (np.array(parts) for parts in zip(*(p.mean for p in others.values()), strict=True))
    verdict_of = dict(zip(others, verdicts(Estimate(*means), field.margin), strict=True))
    faster = [
        (point.speedup, name) for name, point in others.items() if verdict_of[name] == "faster"
    ]
    for speedup, name in sorted(faster)[-1:]:
        times = formatting.speedup(speedup)
        return f"{name} is {times} as fast as {field.baseline_label} in the mean of its cases."
    return f"No backend is significantly faster than {field.baseline_label}."
