"""Network: time of each layer, and each backend's total."""

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_totals import network_sum
from convsweep.analysis.run import Run, network_totals
from convsweep.report.plots.axes import (
    drawn_ends,
    error_bars,
    label_rows,
    linear_seconds,
    log_seconds,
)
from convsweep.report.plots.style import GREY, Look, Picture, legend, looks, new_figure, sentence

MOST_LAYERS = 30
_CHOICE = "#b8b8b8"


def draw(run: Run, name: str) -> Picture | None:
    """Draw one network in one setting; None if no layer has a time."""
    network = run.cases[run.cases["network"].eq(name).fillna(False)]
    timed = network[network["status"] == "ok"].copy()
    if timed.empty:
        return None
    for column in ("time_s", "ci_low_s", "ci_high_s"):
        timed[column] = timed[column] * timed["layer_count"].astype(float)
    totals, layers = _totals(run, name), network["label"].nunique()
    cost = timed.groupby("label")["time_s"].min().nlargest(MOST_LAYERS)
    shown = [label for label in dict.fromkeys(timed["label"]) if label in cost.index]
    used = {b: look for b, look in looks(run.backends).items() if b in set(timed["backend"])}
    heights = [0.22 * max(len(shown), 4) + 0.5, *([0.32 * len(totals) + 0.4] if totals else [])]
    figure = new_figure(1.3 + sum(heights))
    upper, *lower = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    _draw_layers(upper, timed, shown, used)
    for ax in lower:
        _draw_totals(ax, totals, used)
    legend(figure, used, joined=False)
    return Picture(
        name=f"layers_of_{formatting.slug(name)}",
        figure=figure,
        title=f"Time of the layers of {formatting.shorten(name)}",
        alt="Dot chart with one row per layer, above bars of their sums.",
        caption=sentence(drawn=(len(shown), layers), noun="layers"),
    )


def _totals(run: Run, name: str) -> dict[str, Interval]:
    """Return the sum over all layers per backend that timed all, and per choice of backends."""
    totals, choices = network_totals(run, name), network_sum(run, name).choices
    layers = run.cases.loc[run.cases["network"].eq(name).fillna(False), "label"].nunique()
    found = {own: total.time for own, total in totals.items() if total.layers == layers}
    mixed = {own: each for own, each in choices.items() if len({*each.backends.values()}) > 1}
    return found | {own: each.sum.time for own, each in mixed.items()}


def _draw_layers(ax: Axes, timed: DataFrame, shown: list[str], used: dict[str, Look]) -> None:
    """Draw one row per layer with one marker per backend."""
    for backend, look in used.items():
        part = timed[(timed["backend"] == backend) & timed["label"].isin(shown)]
        places = [shown.index(label) for label in part["label"]]
        error_bars(ax, part["time_s"], places, look,
                   x_ends=(part["ci_low_s"], part["ci_high_s"]))  # fmt: skip
    log_seconds(ax, "x")
    counts = timed.groupby("label")["layer_count"].first()
    times = {label: f"  x{counts[label]}" if counts[label] > 1 else "" for label in shown}
    prefix = f"{timed['workload'].iloc[0]} "  # which the title contains
    label_rows(
        ax, [formatting.shorten(label.removeprefix(prefix)) + times[label] for label in shown]
    )
    ax.set_xlabel("time of a layer, as often as it occurs")


def _draw_totals(ax: Axes, totals: dict[str, Interval], used: dict[str, Look]) -> None:
    """Draw one bar per backend, and grey ones for choices per layer."""
    ends = []
    for place, (name, (value, *interval)) in enumerate(totals.items()):
        (low,), (high,) = drawn_ends(*([end] for end in interval))
        ax.barh(place, value, color=used[name].color if name in used else _CHOICE, alpha=0.85)
        ax.plot([low, high], [place, place], color=GREY, linewidth=3)
        ends.append(np.nanmax([value, high]))
        ax.annotate(formatting.seconds(value), (ends[-1], place), xytext=(5, 0), va="center",
                    textcoords="offset points", fontsize=9)  # fmt: skip
    label_rows(ax, list(totals))
    ax.set_xlim(0, 1.15 * max(ends))
    linear_seconds(ax)
    ax.set_xlabel("sum over all layers")
