"""What a model's convolutions cost, and what other strategies or layers would save, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import (
    Array,
    Estimate,
    Interval,
    estimate,
    interval,
    weighted_mean,
)
from convsweep.analysis.run import Run
from convsweep.analysis.verdicts import verdicts
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE, is_replaceable, predicted_share

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LAYER_COLUMNS = (
    "layer",
    "layer_count",
    "problem",
    "baseline_s",
    "best_backend",
    "best_s",
    "separable_speedup",
    "separable_ci_low",
    "separable_ci_high",
    "predicted_speedup",
)
"""The columns of layers.csv."""

FASTER, SLOWER, UNDECIDED = "faster", "slower", "undecided"
UNKNOWN = Interval(np.nan, np.nan, np.nan)


class LayerTime(NamedTuple):
    """One backend on one layer."""

    backend: str
    time_s: Interval
    speedup: Interval
    """Over the baseline."""
    verdict: str
    """Empty where there is no speedup."""


@dataclass(frozen=True)
class LayerCost:
    """A distinct layer of the model."""

    name: str
    label: str
    """Its name and shape, as far as this model's layers differ."""
    problem: ConvProblem
    count: int
    """How often one call of the model executes it."""
    baseline_s: Interval
    best: LayerTime | None
    """The fastest by estimate of those that compute the layer's own function."""
    separable: LayerTime | None
    """What would replace it; None where it can't be replaced, or has no time."""
    failure: str
    """Empty where the baseline has a time."""

    @property
    def macs(self) -> int:
        """Of all its executions in one call of the model."""
        return self.count * self.problem.macs

    @property
    def predicted(self) -> float:
        """The speedup that MACs promise of the separable replacement; NaN where there is none."""
        return 1 / predicted_share(self.problem) if is_replaceable(self.problem) else np.nan


class Saving(NamedTuple):
    """The whole model with some layers done otherwise; the others stay on the baseline."""

    time_s: Interval
    speedup: Interval
    verdict: str
    mac_ratio: float
    """The speedup that MACs alone promise."""
    layers: int
    """Distinct layers that are done otherwise."""
    convolutions: int
    """The same, each as often as it is executed."""


def layer_costs(run: Run, order: Sequence[str]) -> list[LayerCost]:
    """Every distinct layer of a run in one setting, in the order of their problems' labels."""
    place = {problem: number for number, problem in enumerate(order)}
    found = [_layer(rows, run.baseline) for _, rows in run.cases.groupby("label", sort=False)]
    return sorted(found, key=lambda layer: place.get(layer.problem.label, len(place)))


def _layer(rows: DataFrame, baseline: str) -> LayerCost:
    first = rows.iloc[0]
    timed = rows[rows["status"] == "ok"].sort_values("median_s")
    timed = timed.sort_values("speedup", ascending=False, kind="stable")  # paired by pass, if it is
    contenders = {str(row["backend"]): _layer_time(row) for _, row in timed.iterrows()}
    own = [one for name, one in contenders.items() if name != SEPARABLE]
    base, absent = contenders.get(baseline), rows[rows["backend"] == baseline]
    why = "" if base or absent.empty else f"{absent.iloc[0]['status']}: {absent.iloc[0]['reason']}"
    return LayerCost(
        name=str(first["layer"]),
        label=str(first["label"]),
        problem=ConvProblem.parse(str(first["problem"])),
        count=int(first["layer_count"]),
        baseline_s=base.time_s if base else UNKNOWN,
        best=own[0] if own else None,
        separable=contenders.get(SEPARABLE),
        failure=why,
    )


def _layer_time(row: Series) -> LayerTime:
    time_s = (row[name] for name in ("median_s", "ci_low_s", "ci_high_s"))
    speedup = (row[name] for name in ("speedup", "speedup_ci_low", "speedup_ci_high"))
    return LayerTime(
        str(row["backend"]),
        Interval(*map(float, time_s)),
        Interval(*map(float, speedup)),
        str(row["verdict"]),
    )


def layers_table(layers: Sequence[LayerCost]) -> DataFrame:
    """The rows of layers.csv; what is missing is NaN or None, never 0."""
    rows = []
    for layer in layers:
        best = layer.best
        speedup = layer.separable.speedup if layer.separable else UNKNOWN
        rows.append((
            layer.name,
            layer.count,
            layer.problem.label,
            layer.baseline_s.value,
            best.backend if best else None,
            best.time_s.value if best else np.nan,
            *speedup,
            layer.predicted,
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def fastest_strategies(layers: Sequence[LayerCost], baseline: str) -> dict[str, LayerTime]:
    """By label, what surely beats the baseline and computes the same; nothing where none does."""
    return {
        layer.label: layer.best
        for layer in layers
        if layer.best and layer.best.backend != baseline and layer.best.verdict == FASTER
    }


def replacements(layers: Sequence[LayerCost]) -> dict[str, LayerTime]:
    """By label, every separable replacement that has a speedup."""
    return {
        layer.label: layer.separable
        for layer in layers
        if layer.separable and not np.isnan(layer.separable.speedup.value)
    }


def total_now(run: Run, layers: Sequence[LayerCost]) -> Interval:
    """Seconds of all layers that the baseline timed, each as often as it is executed."""
    return estimate_saving(run, layers, {}).time_s


def estimate_saving(
    run: Run, layers: Sequence[LayerCost], chosen: Mapping[str, LayerTime]
) -> Saving:
    """What the model's convolutions take with the layers of `chosen` done so.

    To first order, a total's relative error is that of its layers, weighed by their time. What
    slows down a whole pass slows down both totals, and cancels out of their ratio. Where all of it
    is one layer, which is undecided, so is the total.
    """
    timed = [layer for layer in layers if not np.isnan(layer.baseline_s.value)]
    if not timed:
        return Saving(UNKNOWN, UNKNOWN, "", np.nan, 0, 0)
    base, gain = _log_times(run, timed, chosen)
    counts = np.array([layer.count for layer in timed], dtype="float64")
    now_s = counts * np.exp(estimate(base).mean)
    after_s = now_s / np.exp(estimate(gain).mean)
    share_now, share_after = now_s / now_s.sum(), after_s / after_s.sum()
    after = weighted_mean(base - gain, share_after)._replace(mean=np.log(after_s.sum()))
    weights = np.concatenate([share_now - share_after, share_after])
    ratio = weighted_mean(np.concatenate([base, gain]), weights)
    ratio = ratio._replace(mean=np.log(now_s.sum() / after_s.sum()))
    [verdict] = verdicts(Estimate(*(np.atleast_1d(part) for part in ratio)), run.margin)
    replaced = [layer for layer in timed if layer.label in chosen]
    if [chosen[layer.label].verdict for layer in replaced] == [UNDECIDED]:
        verdict = UNDECIDED
    macs_after = sum(_macs_with(layer, chosen.get(layer.label)) for layer in timed)
    return Saving(
        interval(after),
        interval(ratio),
        str(verdict),
        sum(layer.macs for layer in timed) / macs_after,
        len(replaced),
        sum(layer.count for layer in replaced),
    )


def _log_times(
    run: Run, layers: Sequence[LayerCost], chosen: Mapping[str, LayerTime]
) -> tuple[Array, Array]:
    """The baseline's time and the chosen one's speedup, as logarithms: (layers, passes) each."""
    [setting] = run.settings

    def log_s(backends: Iterable[str]) -> Array:
        keys = [(setting, x.label, name) for x, name in zip(layers, backends, strict=True)]
        return np.asarray(np.log(run.pass_times.reindex(keys).to_numpy(dtype="float64")))

    base = log_s([run.baseline] * len(layers))
    after = log_s(chosen[x.label].backend if x.label in chosen else run.baseline for x in layers)
    return base, base - after


def _macs_with(layer: LayerCost, contender: LayerTime | None) -> float:
    """The layer's MACs, or its replacement's."""
    separable = contender is not None and contender.backend == SEPARABLE
    return layer.macs / layer.predicted if separable else float(layer.macs)
