"""The user's model: where its time goes now, what replacements leave of it, what MACs promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from convsweep import formatting
from convsweep.analysis.model_savings import (
    UNDECIDED,
    LayerCost,
    Saving,
    estimate_saving,
    replacements,
)
from convsweep.analysis.run import Run
from convsweep.report.plots.style import COLORS, GREY, Picture, new_figure, short_seconds

MOST_LAYERS = 16
_LONGEST_LABEL = 46
_NOW, _AFTER, _EXPECTED = "#b8b8b8", COLORS[1], COLORS[2]


class _Bar(NamedTuple):
    """One row: seconds of a layer, as often as it is executed; NaN where nothing replaces it."""

    label: str
    now_s: float
    after_s: float
    expected_s: float


def draw_model(run: Run, layers: Sequence[LayerCost], name: str) -> Picture | None:
    """Each layer's time now and replaced; None where no layer has both.

    Args:
        run: one setting of it.
        layers: the model's, in its order.
        name: the model's.
    """
    chosen = replacements(layers)
    if not chosen:
        return None
    bars = _shown([_bar(layer) for layer in layers if not np.isnan(layer.baseline_s.value)])
    figure = new_figure(1.9 + 0.34 * len(bars))
    ax = figure.subplots()
    _draw(ax, bars)
    figure.legend(
        handles=[
            Patch(color=_NOW, label=f"now ({run.baseline})"),
            Patch(color=_AFTER, label="replaced by a separable layer"),
            Line2D([], [], color=_EXPECTED, marker="D", linestyle="none", label="as MACs promise"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    now, after = estimate_saving(run, layers, {}), estimate_saving(run, layers, chosen)
    return Picture(
        name="model_layers",
        figure=figure,
        title=_finding(name, now, after, sum(layer.count for layer in layers)),
        alt=f"Bars of the time of each layer of {name} now, and of its separable replacement: "
        f"{formatting.seconds(now.time_s.value)} in all, "
        f"{formatting.seconds(after.time_s.value)} replaced.",
        caption="A layer's time is multiplied by how often one call executes it. Where a layer has "
        "one bar, nothing can replace it. A replacement computes another function, and needs "
        "training anew.",
    )


def _bar(layer: LayerCost) -> _Bar:
    now_s = layer.count * layer.baseline_s.value
    speedup = layer.separable.speedup.value if layer.separable else np.nan
    times = f"  x{layer.count}" if layer.count > 1 else ""
    return _Bar(
        formatting.shorten(layer.label, _LONGEST_LABEL) + times,
        now_s,
        now_s / speedup,
        now_s / layer.predicted,
    )


def _shown(bars: Sequence[_Bar]) -> list[_Bar]:
    """The costliest in their order, and all others as one."""
    if len(bars) <= MOST_LAYERS:
        return list(bars)
    costliest = sorted(bars, key=lambda bar: -bar.now_s)[: MOST_LAYERS - 1]
    rest = [bar for bar in bars if bar not in costliest]
    after = [bar.now_s if np.isnan(bar.after_s) else bar.after_s for bar in rest]
    replaced = any(not np.isnan(bar.after_s) for bar in rest)
    return [
        *(bar for bar in bars if bar in costliest),
        _Bar(
            f"{len(rest)} further layers",
            sum(bar.now_s for bar in rest),
            sum(after) if replaced else np.nan,
            np.nan,
        ),
    ]


def _draw(ax: Axes, bars: Sequence[_Bar]) -> None:
    places = np.arange(len(bars))
    alone = np.isnan([bar.after_s for bar in bars])
    ax.barh(np.where(alone, places, places - 0.19), [bar.now_s for bar in bars], 0.36, color=_NOW)
    ax.barh(places + 0.19, [bar.after_s for bar in bars], 0.36, color=_AFTER)
    ax.plot(
        [bar.expected_s for bar in bars], places + 0.19, color=_EXPECTED, marker="D",
        linestyle="none", markersize=5, markeredgecolor="white",
    )  # fmt: skip
    widest = max(bar.now_s for bar in bars)
    for place, bar in zip(places, bars, strict=True):
        if not np.isnan(bar.after_s):
            end = np.nanmax([bar.now_s, bar.after_s, bar.expected_s])
            said = f"{formatting.format_ratio(bar.now_s / bar.after_s)}x"
            ax.text(end + 0.01 * widest, float(place), said, va="center", fontsize=9, color=GREY)
    ax.set_yticks(places, [bar.label for bar in bars])
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.set_xlim(0, 1.1 * max(np.nanmax(bar[1:]) for bar in bars))
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(lambda value, _: short_seconds(value) if value else "0")
    ax.set_xlabel("time of a layer, as often as it is executed")


def _finding(name: str, now: Saving, after: Saving, count: int) -> str:
    doubt = " (undecided)" if after.verdict == UNDECIDED else ""
    layers = "A separable layer takes" if after.convolutions == 1 else "Separable layers take"
    own = "convolution" if count == 1 else "convolutions"
    return (
        f"{layers} {name}'s {own} from {formatting.seconds(now.time_s.value)} to "
        f"{formatting.seconds(after.time_s.value)}, {formatting.format_ratio(after.speedup.value)} times as "
        f"fast{doubt}; MACs promise {formatting.format_ratio(after.mac_ratio)}"
    )
