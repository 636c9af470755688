"""Speed against error: what a strategy gains over the baseline, and the digits that it loses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.estimates import Array, Estimate, estimate, weighted_mean
from convsweep.analysis.families.candidates import PLAIN, Candidates, log_speedups
from convsweep.analysis.verdicts import verdicts
from convsweep.report.plots.family_style import FAMILY_COLORS, FAMILY_WORDS, family_looks
from convsweep.report.plots.style import GREY, Look, Picture, legend, new_figure

_POWERS = tuple(float(f"{digit}e{power}") for power in range(-9, 9) for digit in (1, 2, 5))
_MOST_TICKS = 12
_COLORS = {FAMILY_COLORS[family]: words for family, words in FAMILY_WORDS.items()}


class Place(NamedTuple):
    """Where one backend stands: all its cases, and the middle of them."""

    speedups: Array
    mean: Estimate
    """Of the logarithms of all its speedups; every case weighs alike."""
    errors: Array
    losses: Array
    """Each case's error / the baseline's on the same layer."""

    @property
    def loss(self) -> float:
        """The geometric mean of those that are known; NaN where none is."""
        known = self.losses[~np.isnan(self.losses)]
        return float(np.exp(np.log(known).mean())) if len(known) else np.nan

    @property
    def speedup(self) -> float:
        """The geometric mean."""
        return float(np.exp(self.mean.mean))

    @property
    def error(self) -> float:
        """The geometric mean, too."""
        return float(np.exp(np.log(self.errors).mean()))


def draw(field: Candidates) -> Picture | None:
    """A dot a case, a large one a backend; None where no other than the baseline has both."""
    field = field.dense_weights
    places = _places(field)
    if not places.keys() - {field.baseline}:
        return None
    shown = {name: look for name, look in family_looks(field).items() if name in places}
    figure = new_figure(5.6)
    ax = figure.subplots()
    for name, look in shown.items():
        _draw(ax, places[name], look)
    ax.axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    _frame(ax, field)
    legend(figure, shown, joined=False)
    return Picture(
        name="speed_vs_error",
        figure=figure,
        title=finding(field, places),
        alt=_alt(places),
        caption=_caption(field, shown),
    )


def _places(field: Candidates) -> dict[str, Place]:
    """The backends that have a speedup and an error above zero in some case."""
    logs = log_speedups(field)
    speedups = np.exp(estimate(logs).mean)
    errors = field.cases["relative_err"].to_numpy(dtype="float64")
    told = ~np.isnan(speedups) & (errors > 0)
    of_base = field.select(PLAIN).cases
    base_errors = dict(zip(of_base["label"], of_base["relative_err"], strict=True))
    losses = errors / np.array([base_errors.get(label) or np.nan for label in field.cases["label"]])
    found = {}
    for name in dict.fromkeys(field.cases.loc[told, "backend"]):
        own = told & (field.cases["backend"] == name).to_numpy(dtype=bool)
        alike = np.full(own.sum(), 1 / own.sum())
        mean = weighted_mean(logs[own], alike)
        found[str(name)] = Place(speedups[own], mean, errors[own], losses[own])
    return found


def _draw(ax: Axes, place: Place, look: Look) -> None:
    ax.plot(place.errors, place.speedups, color=look.color, marker=look.marker, linestyle="none",
            markersize=3.5, alpha=0.3, markeredgewidth=0)  # fmt: skip
    ax.plot(place.error, place.speedup, color=look.color, marker=look.marker, linestyle="none",
            markersize=10, markerfacecolor="none", markeredgewidth=2, zorder=3)  # fmt: skip


def _frame(ax: Axes, field: Candidates) -> None:
    ax.set(xscale="log", yscale="log")
    ax.margins(0.08)
    low, high = ax.get_ylim()
    ticks = [power for power in _POWERS if low <= power <= high]
    ax.set_yticks(ticks if len(ticks) <= _MOST_TICKS else [t for t in ticks if f"{t:e}"[0] == "1"])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(LogLocator(10))
    ax.set_xlabel("relative error: largest difference / largest output")
    ax.set_ylabel(f"speedup over {field.baseline_label}")


def finding(field: Candidates, places: dict[str, Place]) -> str:
    """The fastest and the most exact of those that surely are faster than the baseline."""
    others = {name: place for name, place in places.items() if name != field.baseline}
    means = (np.array(parts) for parts in zip(*(p.mean for p in others.values()), strict=True))
    said = verdicts(Estimate(*means), field.margin)
    surely = [name for name, verdict in zip(others, said, strict=True) if verdict == "faster"]
    if not surely:
        open_ = " surely" if any(place.speedup > 1 for place in others.values()) else ""
        return f"In the mean over its cases no backend is{open_} faster than {field.baseline_label}"
    fastest = max(surely, key=lambda name: others[name].speedup)
    exact = min(surely, key=lambda name: others[name].error)
    gain = _gain(field, fastest, places)
    return gain if exact == fastest else f"{gain}; {_gain(field, exact, places)}"


def _gain(field: Candidates, name: str, places: dict[str, Place]) -> str:
    """`winograd_numba is 3.0 times as fast as ... with 9.8 times its error`."""
    place = places[name]
    error = f"a relative error of {place.error:.1e}"
    if not np.isnan(place.loss):
        error = f"{formatting.format_ratio(place.loss)} times its error"
    return f"{name}: {formatting.format_ratio(place.speedup)} times {field.baseline_label}, {error}"


def _alt(places: dict[str, Place]) -> str:
    said = [
        f"{name} {formatting.format_ratio(place.speedup)} times at {place.error:.1e}"
        for name, place in places.items()
    ]
    return (
        "Scatter chart of speedup against relative error, both axes logarithmic, by backend in "
        f"the geometric mean: {'; '.join(said)}."
    )


def _caption(field: Candidates, shown: dict[str, Look]) -> str:
    families = [
        f"{_COLORS[color]}" for color in dict.fromkeys(look.color for look in shown.values())
    ]
    return (
        "A small dot a case, a large open one a backend's geometric mean over its own cases, which "
        "are not the same for all; up and to the left is better. Speedups are over "
        f"{field.baseline_label} on the same layer. One colour per family: "
        f"{formatting.join(families)}."
    )
