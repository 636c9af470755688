"""The user's model: time per layer today, after replacement, and as expected from MACs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.model_savings import LayerCost, replacements
from convsweep.analysis.run import Run
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots.axes import label_rows, linear_seconds
from convsweep.report.plots.style import COLORS, GREY, Look, Picture, legend, new_figure

MOST_LAYERS = 16
_LONGEST_LABEL = 46
_NOW, _AFTER, _EXPECTED = "#b8b8b8", COLORS[1], COLORS[2]


class _Bar(NamedTuple):
    """Seconds of all executions of one layer; NaN if nothing replaces it."""

    label: str
    now_s: float
    after_s: float
    expected_s: float


def draw_model(run: Run, layers: Sequence[LayerCost], name: str) -> Picture | None:
    """Draw each layer's time in one setting, now and replaced; None if no layer has both."""
    chosen = replacements(layers)
    if not chosen:
        return None
    bars = _shown([_bar(layer) for layer in layers if not np.isnan(layer.baseline_s.value)])
    figure = new_figure(1.9 + 0.34 * len(bars))
    _draw(figure.subplots(), bars)
    colors = {run.baseline: _NOW, SEPARABLE: _AFTER}
    legend(figure, {"expected from MACs": Look(_EXPECTED, "D")}, colors=colors)
    return Picture(
        name="model_layers",
        figure=figure,
        title=f"Time of the layers of {formatting.shorten(name)}, now and separable",
        alt="Bar chart, one row per layer.",
        caption="A layer with one bar has no separable replacement.",
    )


def _bar(layer: LayerCost) -> _Bar:
    now_s = layer.count * layer.baseline_s.value
    speedup = layer.separable.speedup.value if layer.separable else np.nan
    times = f"  x{layer.count}" if layer.count > 1 else ""
    label = formatting.shorten(layer.label, _LONGEST_LABEL) + times
    return _Bar(label, now_s, now_s / speedup, now_s / layer.predicted)


def _shown(bars: Sequence[_Bar]) -> list[_Bar]:
    """Return the costliest layers in their order, and the sum of all others as one bar."""
    if len(bars) <= MOST_LAYERS:
        return list(bars)
    costliest = sorted(bars, key=lambda bar: -bar.now_s)[: MOST_LAYERS - 1]
    rest = [bar for bar in bars if bar not in costliest]
    after = [bar.now_s if np.isnan(bar.after_s) else bar.after_s for bar in rest]
    replaced = any(not np.isnan(bar.after_s) for bar in rest)
    now_s, after_s = sum(bar.now_s for bar in rest), sum(after) if replaced else np.nan
    return [
        *(bar for bar in bars if bar in costliest),
        _Bar(f"{len(rest)} further layers", now_s, after_s, np.nan),
    ]


def _draw(ax: Axes, bars: Sequence[_Bar]) -> None:
    places = np.arange(len(bars))
    single = np.isnan([bar.after_s for bar in bars])
    ax.barh(np.where(single, places, places - 0.19), [bar.now_s for bar in bars], 0.36, color=_NOW)
    ax.barh(places + 0.19, [bar.after_s for bar in bars], 0.36, color=_AFTER)
    ax.plot([bar.expected_s for bar in bars], places + 0.19, color=_EXPECTED, marker="D",
            linestyle="none", markersize=5, markeredgecolor="white")  # fmt: skip
    widest = max(bar.now_s for bar in bars)
    for place, bar in zip(places, bars, strict=True):
        if not np.isnan(bar.after_s):
            end = np.nanmax(bar[1:]) + 0.01 * widest
            speedup = formatting.speedup(bar.now_s / bar.after_s)
            ax.text(end, float(place), speedup, va="center", fontsize=9, color=GREY)
    label_rows(ax, [bar.label for bar in bars])
    ax.set_xlim(0, 1.1 * max(np.nanmax(bar[1:]) for bar in bars))
    ax.grid(axis="y", visible=False)
    linear_seconds(ax)
    ax.set_xlabel("time of all executions of a layer")
