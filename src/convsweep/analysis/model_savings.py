"""Costs of a model's convolutions, and what other strategies or separable layers save."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

from convsweep.analysis import estimates
from convsweep.analysis.run import Run
from convsweep.analysis.summary import SPEEDUP, TIME, interval_of
from convsweep.analysis.verdicts import verdicts
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE, is_replaceable, predicted_share

LAYER_COLUMNS = (
    "layer", "layer_count", "problem", "baseline_s", "best_backend", "best_s",
    "separable_speedup", "separable_ci_low", "separable_ci_high", "predicted_speedup",
)  # fmt: skip
"""Columns of layers.csv."""

FASTER, UNDECIDED = "faster", "undecided"


class LayerTime(NamedTuple):
    """One backend on one layer."""

    backend: str
    time_s: estimates.Interval
    speedup: estimates.Interval
    verdict: str  # empty if there is no speedup


@dataclass(frozen=True)
class LayerCost:
    """Distinct layer of the model."""

    name: str
    label: str  # name and shape, as far as the layers of the model differ
    problem: ConvProblem
    count: int  # executions per call of the model
    baseline_s: estimates.Interval
    best: LayerTime | None  # fastest backend by estimate that computes the same function
    separable: LayerTime | None  # separable replacement; None if there is none, or it has no time
    failure: str  # status and reason if the baseline has no time, else empty

    @property
    def macs(self) -> int:
        """MACs of all executions in one call of the model."""
        return self.count * self.problem.macs

    @property
    def predicted(self) -> float:
        """Speedup expected from the MACs of the separable replacement; NaN if there is none."""
        return 1 / predicted_share(self.problem) if is_replaceable(self.problem) else np.nan


class Saving(NamedTuple):
    """Model with some layers changed; the others stay on the baseline."""

    time_s: estimates.Interval
    speedup: estimates.Interval
    verdict: str
    mac_ratio: float  # speedup expected from the MAC count
    convolutions: int  # executions of the changed layers per call


def layer_costs(run: Run, order: Sequence[str]) -> list[LayerCost]:
    """Return the distinct layers of a run in one setting, in the order of problem labels."""
    place = {problem: number for number, problem in enumerate(order)}
    found = [_layer(rows, run.baseline) for _, rows in run.cases.groupby("label", sort=False)]
    return sorted(found, key=lambda layer: place.get(layer.problem.label, len(place)))


def _layer(rows: DataFrame, baseline: str) -> LayerCost:
    first = rows.iloc[0]
    timed = rows[rows["status"] == "ok"].sort_values("time_s")
    timed = timed.sort_values("speedup", ascending=False, kind="stable")  # paired by pass, if it is
    times = {
        row["backend"]: LayerTime(
            row["backend"], interval_of(row, TIME), interval_of(row, SPEEDUP), row["verdict"]
        )
        for row in timed.to_dict("records")
    }
    own = [one for name, one in times.items() if name != SEPARABLE]
    base, row = times.get(baseline), rows[rows["backend"] == baseline].head(1)
    failure = "" if base or row.empty else f"{row.iloc[0]['status']}: {row.iloc[0]['reason']}"
    return LayerCost(
        name=str(first["layer"]),
        label=str(first["label"]),
        problem=ConvProblem.parse(str(first["problem"])),
        count=int(first["layer_count"]),
        baseline_s=base.time_s if base else estimates.UNKNOWN,
        best=own[0] if own else None,
        separable=times.get(SEPARABLE),
        failure=failure,
    )


def layers_table(layers: Sequence[LayerCost]) -> DataFrame:
    """Return the rows of layers.csv; missing values are NaN or None, never 0."""
    rows = [
        (
            layer.name,
            layer.count,
            layer.problem.label,
            layer.baseline_s.value,
            layer.best.backend if layer.best else None,
            layer.best.time_s.value if layer.best else np.nan,
            *(layer.separable.speedup if layer.separable else estimates.UNKNOWN),
            layer.predicted,
        )
        for layer in layers
    ]
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def fastest_strategies(layers: Sequence[LayerCost], baseline: str) -> dict[str, LayerTime]:
    """Return by label the backends that compute the same, significantly faster."""
    return {
        layer.label: layer.best
        for layer in layers
        if layer.best and layer.best.backend != baseline and layer.best.verdict == FASTER
    }


def replacements(layers: Sequence[LayerCost]) -> dict[str, LayerTime]:
    """Return by label the separable replacements with a speedup; a fully connected layer stays."""
    return {
        layer.label: layer.separable
        for layer in layers
        if layer.separable
        and not np.isnan(layer.separable.speedup.value)
        and not layer.problem.is_fully_connected
    }


def estimate_saving(
    run: Run, layers: Sequence[LayerCost], chosen: Mapping[str, LayerTime]
) -> Saving:
    """Return time and speedup of the model's convolutions with the layers in `chosen` changed.

    To first order, the relative error of a total is that of its layers, weighted by time. The
    drift of a pass is in both totals and cancels in their ratio. A single undecided layer makes
    the total undecided.
    """
    timed = [layer for layer in layers if not np.isnan(layer.baseline_s.value)]
    if not timed:
        return Saving(estimates.UNKNOWN, estimates.UNKNOWN, "", np.nan, 0)
    base, gain = _log_times(run, timed, chosen)
    counts = np.array([layer.count for layer in timed], dtype="float64")
    now_s = counts * np.exp(estimates.estimate(base).mean)
    after_s = now_s / np.exp(estimates.estimate(gain).mean)
    share_now, share_after = now_s / now_s.sum(), after_s / after_s.sum()
    after = estimates.weighted_mean(base - gain, share_after)._replace(mean=np.log(after_s.sum()))
    weights = np.concatenate([share_now - share_after, share_after])
    ratio = estimates.weighted_mean(np.concatenate([base, gain]), weights)
    ratio = ratio._replace(mean=np.log(now_s.sum() / after_s.sum()))
    [verdict] = verdicts(estimates.Estimate(*(np.atleast_1d(part) for part in ratio)), run.margin)
    replaced = [layer for layer in timed if layer.label in chosen]
    if [chosen[layer.label].verdict for layer in replaced] == [UNDECIDED]:
        verdict = UNDECIDED
    separable = {label for label, one in chosen.items() if one.backend == SEPARABLE}
    macs_after = sum(x.macs / (x.predicted if x.label in separable else 1) for x in timed)
    return Saving(
        estimates.interval(after),
        estimates.interval(ratio),
        str(verdict),
        sum(layer.macs for layer in timed) / macs_after,
        sum(layer.count for layer in replaced),
    )


def _log_times(
    run: Run, layers: Sequence[LayerCost], chosen: Mapping[str, LayerTime]
) -> tuple[estimates.Array, estimates.Array]:
    """Return log times of the baseline and log speedups of the choice: (layers, passes) each."""
    [setting] = run.settings

    def log_s(backends: Iterable[str]) -> estimates.Array:
        keys = [(setting, x.label, name) for x, name in zip(layers, backends, strict=True)]
        return np.asarray(np.log(run.pass_times.reindex(keys).to_numpy(dtype="float64")))

    base = log_s([run.baseline] * len(layers))
    after = log_s(chosen[x.label].backend if x.label in chosen else run.baseline for x in layers)
    return base, base - after
