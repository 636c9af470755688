"""A model's layers as a table: time, fastest strategy, separable replacement, promise."""

from __future__ import annotations

import numpy as np

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.model_advice import Advice
from convsweep.analysis.model_savings import UNDECIDED, LayerCost, LayerTime, Saving
from convsweep.report.tables import Table


def layer_table(advice: Advice) -> Table:
    """One row a distinct layer: its time, the fastest strategy, its replacement, the promise."""
    baseline = advice.run.baseline
    now = sum(x.count * x.baseline_s.value for x in advice.layers if x.baseline_s.value > 0)
    rows = [
        (
            layer.label,
            str(layer.count),
            time_text(layer.baseline_s),
            formatting.percent(layer.count * layer.baseline_s.value / now) if now else "",
            _best(layer, baseline),
            _cell(layer.separable),
            "" if np.isnan(layer.predicted) else formatting.digits(layer.predicted),
        )
        for layer in advice.layers
    ]
    heads = ("layer", "times", f"{baseline} [95 %]", "share", "fastest strategy",
             "separable [95 %]", "promised")  # fmt: skip
    return Table(heads, rows, frozenset({*heads[1:4], *heads[5:]}))


def _best(layer: LayerCost, baseline: str) -> str:
    if layer.best is None:
        return formatting.NOT_MEASURED
    if layer.best.backend == baseline:
        return baseline
    return f"{layer.best.backend} {_cell(layer.best)}"


def _cell(contender: LayerTime | None) -> str:
    """`1.92 [1.85, 1.99]`, with a question mark where it is undecided."""
    if contender is None:
        return ""
    return ratio_text(contender) + (" ?" if contender.verdict == UNDECIDED else "")


def ratio_text(found: Saving | LayerTime) -> str:
    """`1.92 [1.85, 1.99]`."""
    return formatting.interval(*found.speedup)


def time_text(time_s: Interval) -> str:
    """`14.7 [12.3, 17.5] µs`."""
    return formatting.time(*time_s)
