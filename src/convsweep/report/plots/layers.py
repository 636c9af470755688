"""Network: time of each layer, and each backend's total."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.run import Run, Total, network_totals
from convsweep.report.plots.axes import error_bars, label_rows, linear_seconds, log_seconds
from convsweep.report.plots.style import GREY, Look, Picture, legend, looks, new_figure

MOST_LAYERS = 30


def draw(run: Run, workload: str) -> Picture | None:
    """Draw one network in one setting; None if no layer has a time."""
    network = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    timed = network[network["status"] == "ok"].copy()
    if timed.empty:
        return None
    for name in ("median_s", "ci_low_s", "ci_high_s"):
        timed[name] = timed[name] * timed["layer_count"].astype(float)
    totals = network_totals(run, workload)
    layers = network["label"].nunique()
    cost = timed.groupby("label")["median_s"].min().nlargest(MOST_LAYERS)
    shown = [label for label in dict.fromkeys(timed["label"]) if label in cost.index]
    used = {b: look for b, look in looks(run.backends).items() if b in set(timed["backend"])}
    figure = new_figure(2.2 + 0.22 * max(len(shown), 4) + 0.32 * len(used))
    upper, lower = figure.subplots(
        2, 1, height_ratios=[0.22 * len(shown) + 0.5, 0.32 * len(used) + 0.4]
    )
    _draw_layers(upper, timed, shown, used)
    _draw_totals(lower, totals, layers, used)
    legend(figure, used, joined=False)
    return Picture(
        name=f"layers_of_{formatting.slug(workload)}",
        figure=figure,
        title=_title(workload, totals, layers),
        alt=f"Dot chart of the time of each layer of {workload}, above bars of each backend's "
        "total.",
        caption=f"Layers of {workload} on {run.settings[0]}, {len(shown)} of the {layers} in this "
        "run; times are multiplied by how often a layer occurs. Pale bars cover only some layers.",
    )


def _title(workload: str, totals: dict[str, Total], layers: int) -> str:
    complete = [
        (total.time.value, name) for name, total in totals.items() if total.layers == layers
    ]
    for time, name in sorted(complete)[:1]:
        return f"Layers of {workload}: {name} has the smallest total, {formatting.seconds(time)}"
    return f"Layers of {workload}: no backend has a time for every layer"


def _draw_layers(ax: Axes, timed: DataFrame, shown: list[str], used: dict[str, Look]) -> None:
    """Draw one row per layer with one marker per backend."""
    for backend, look in used.items():
        part = timed[(timed["backend"] == backend) & timed["label"].isin(shown)]
        places = [shown.index(label) for label in part["label"]]
        error_bars(ax, part["median_s"], places, look,
                   x_ends=(part["ci_low_s"], part["ci_high_s"]))  # fmt: skip
    log_seconds(ax, "x")
    counts = timed.groupby("label")["layer_count"].first()
    times = {label: f"  x{counts[label]}" if counts[label] > 1 else "" for label in shown}
    prefix = f"{timed['workload'].iloc[0]} "  # which the title contains
    label_rows(
        ax, [formatting.shorten(label.removeprefix(prefix)) + times[label] for label in shown]
    )
    ax.set_xlabel("time of a layer, as often as it occurs")


def _draw_totals(ax: Axes, totals: dict[str, Total], layers: int, used: dict[str, Look]) -> None:
    """Draw one bar per backend, pale if it does not cover the network."""
    widest = max(total.time.value for total in totals.values())
    for place, (backend, total) in enumerate(totals.items()):
        value, low, high = total.time
        complete = total.layers == layers
        ax.barh(place, value, color=used[backend].color, alpha=0.85 if complete else 0.25)
        if not np.isnan(low):
            ax.plot([low, high], [place, place], color=GREY, linewidth=3)
        part = "" if complete else f" for {total.layers} of {layers} layers"
        end = np.nanmax([value, high])
        ax.text(end + widest * 0.01, place, formatting.seconds(value) + part, va="center",
                fontsize=9)  # fmt: skip
    label_rows(ax, list(totals))
    ax.set_xlim(0, widest * 1.3)
    linear_seconds(ax)
    ax.set_xlabel("total over the layers")
