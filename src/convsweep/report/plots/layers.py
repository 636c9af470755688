"""A network: the time of each layer as often as it occurs, and each backend's total."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.run import Run, Total, network_totals
from convsweep.report.plots.style import (
    GREY,
    Look,
    Picture,
    error_bars,
    legend,
    log_seconds,
    looks,
    new_figure,
)

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_LAYERS = 30


def draw(run: Run, workload: str) -> Picture | None:
    """One network in one setting; None where no layer has a time."""
    network = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    timed = network[network["status"] == "ok"].copy()
    if timed.empty:
        return None
    for name in ("median_s", "ci_low_s", "ci_high_s"):
        timed[name] = timed[name] * timed["layer_count"].astype(float)
    totals = network_totals(run, workload)
    layers = network["label"].nunique()
    shown = _costliest(timed)
    used = {b: look for b, look in looks(run.backends).items() if b in set(timed["backend"])}
    title = finding(workload, totals, layers, is_part=bool(run.missing_cases))
    height = 2.2 + 0.22 * max(len(shown), 4) + 0.32 * len(used)
    figure = new_figure(height)
    upper, lower = figure.subplots(
        2, 1, height_ratios=[0.22 * len(shown) + 0.5, 0.32 * len(used) + 0.4]
    )
    _draw_layers(upper, timed, shown, used)
    _draw_totals(lower, totals, layers, used)
    legend(figure, used, joined=False)
    return Picture(
        name=f"layers_of_{formatting.slug(workload)}",
        figure=figure,
        title=title,
        alt=_alt(workload, totals, layers),
        caption=_caption(run, workload, totals, layers, layers - len(shown)),
    )


def _costliest(timed: DataFrame) -> list[str]:
    """The layers that take the most time, in the order of the network."""
    cost = timed.groupby("label")["median_s"].min().nlargest(MOST_LAYERS)
    return [label for label in dict.fromkeys(timed["label"]) if label in cost.index]


def _draw_layers(ax: Axes, timed: DataFrame, shown: list[str], used: dict[str, Look]) -> None:
    """A row a layer, a marker a backend."""
    for backend, look in used.items():
        part = timed[(timed["backend"] == backend) & timed["label"].isin(shown)]
        places = [shown.index(label) for label in part["label"]]
        error_bars(
            ax, part["median_s"], places, part["ci_low_s"], part["ci_high_s"], look, along="x"
        )
    log_seconds(ax, "x")
    counts = timed.groupby("label")["layer_count"].first()
    times = {label: f"  x{counts[label]}" if counts[label] > 1 else "" for label in shown}
    own = f"{timed['workload'].iloc[0]} "  # which the title says
    names = [formatting.shorten(label.removeprefix(own)) + times[label] for label in shown]
    ax.set_yticks(range(len(shown)), names)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel("time of a layer, as often as it occurs")


def _draw_totals(ax: Axes, totals: dict[str, Total], layers: int, used: dict[str, Look]) -> None:
    """A bar a backend; pale where it does not cover the network."""
    widest = max(total.time.value for total in totals.values())
    for place, (backend, total) in enumerate(totals.items()):
        whole = total.layers == layers
        ax.barh(place, total.time.value, color=used[backend].color, alpha=0.85 if whole else 0.25)
        if not np.isnan(total.time.low):
            ax.plot([total.time.low, total.time.high], [place, place], color=GREY, linewidth=3)
        said = formatting.seconds(total.time.value)
        if not whole:
            said += f" for {total.layers} of {layers} layers"
        end = np.nanmax([total.time.value, total.time.high])
        ax.text(end + widest * 0.01, place, said, va="center", fontsize=9)
    ax.set_yticks(range(len(totals)), list(totals))
    ax.set(ylim=(len(totals) - 0.5, -0.5), xlim=(0, widest * 1.3))
    ax.xaxis.set_major_formatter(lambda value, _: formatting.seconds(value) if value else "0")
    ax.set_xlabel("total over the layers")


def finding(workload: str, totals: dict[str, Total], layers: int, is_part: bool = False) -> str:
    """The fastest backend that covers the network, where the intervals stay apart."""
    scope = f"the {layers} layers measured" if is_part else f"all {layers} layers"
    whole = {name: total for name, total in totals.items() if total.layers == layers}
    if not whole:
        return f"{workload}: no backend has a time for {scope}"
    order = sorted(whole, key=lambda name: whole[name].time.value)
    said = [f"{name} {formatting.seconds(whole[name].time.value)}" for name in order]
    if len(order) > 1 and whole[order[0]].time.high < whole[order[1]].time.low:
        best = formatting.seconds(whole[order[0]].time.value)
        return (
            f"{workload}: {order[0]} is the fastest over {scope}, {best} against "
            f"{formatting.join(said[1:])}"
        )
    return f"{workload}, {scope}: {formatting.join(said)}"


def _alt(workload: str, totals: dict[str, Total], layers: int) -> str:
    said = [
        f"{name} {formatting.seconds(total.time.value)} for {total.layers} of {layers} layers"
        for name, total in totals.items()
    ]
    return (
        f"Dot chart of the time of each layer of {workload}, and bars of totals: {'; '.join(said)}."
    )


def _caption(run: Run, workload: str, totals: dict[str, Total], layers: int, left_out: int) -> str:
    said = [
        f"Layers of {workload} on {run.settings[0]}, each time multiplied by how often it occurs."
    ]
    if any(total.layers < layers for total in totals.values()):
        said.append(
            "A pale bar covers part of the network only: do not hold it against the others."
        )
    if run.missing_cases:
        said.append("Not all of its layers are in this run: no total is the network's.")
    if left_out:
        said.append(f"Of the layers, the {MOST_LAYERS} costliest are drawn; totals hold all.")
    return " ".join(said)
