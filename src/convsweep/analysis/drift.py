"""Differences between repeated runs beyond those of their passes. Reasons: docs/statistics.md."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame
from scipy.special import chdtri

from convsweep.analysis.cases import are_variants, read_cases, split
from convsweep.analysis.estimates import CONFIDENCE, Array, Estimate, Interval, estimate
from convsweep.results.schema import CASE_COLUMNS

_LEAST_RUNS = 3


class Drift(NamedTuple):
    """Part of a speedup that a run has on its own, estimated from repeated runs."""

    deviation: Interval  # standard deviation of the log speedup
    error: Estimate  # to be subtracted from an estimate of one run, which widens its interval
    runs: Collection[str] = ()  # names of the runs that it is estimated from


def measure_drift(runs: Mapping[str, DataFrame], baseline: str) -> Drift | None:
    """Return the drift between runs; None if no comparison is in three runs of one machine.

    A/A variants are left out, because they drift as their originals.
    """
    tables = {name: _speedups(rows, baseline) for name, rows in runs.items()}
    found = pd.concat(tables, names=["run"]).reset_index("run")
    found["case"] = found.groupby([*CASE_COLUMNS], dropna=False).ngroup()
    found = found[found.groupby("case")["run"].transform("size") >= _LEAST_RUNS]
    if found.empty:
        return None
    table = found.pivot(index="run", columns="case", values=["log", "error"])
    drift = estimate_drift(table["log"].to_numpy(), table["error"].to_numpy())
    return drift._replace(runs={*found["run"]})


def estimate_drift(logs: Array, errors: Array) -> Drift:
    """Return the drift of log speedups with standard errors, (runs, comparisons); three runs.

    The variance between runs less the mean squared standard error of a run, over all comparisons.
    NaN is a missing comparison.
    """
    deviations = np.nan_to_num(logs - np.nanmean(logs, axis=0))
    counts = (~np.isnan(logs)).sum(axis=0)
    between = float((deviations**2).sum() / (counts - 1).sum())
    within = float(np.average(np.nanmean(errors**2, axis=0), weights=counts - 1))
    degrees = _degrees(deviations)
    tails = chdtri(degrees, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) / degrees
    ends = np.sqrt(np.maximum(between / np.append(1.0, tails) - within, 0))
    # Those of the difference (Satterthwaite 1946); the passes have many.
    left = max(1.0, degrees * (ends[0] ** 2 / between) ** 2) if between else 1.0
    error = Estimate(np.array(0.0), np.array(ends[0]), np.array(left))
    return Drift(Interval(*map(float, ends)), error)


def _degrees(logs: Array) -> float:
    """Return the degrees of freedom of the variance between runs; `logs` is (runs, comparisons).

    Comparisons of one run drift together. The trace of their squared covariance is the unbiased
    one of Srivastava 2005; the limits are those of equal and of independent comparisons.
    """
    runs, comparisons = len(logs) - 1, logs.shape[1]
    products = logs @ logs.T / runs
    trace, squared = products.trace(), (products**2).sum()
    squared = runs**2 * (squared - trace**2 / runs) / ((runs - 1) * (runs + 2))
    independent = trace**2 / squared if squared > 0 else 1.0
    return float(runs * np.clip(independent, 1, comparisons))


def _speedups(rows: DataFrame, baseline: str) -> DataFrame:
    """Return the logarithm of the speedup and its standard error, per case that has both."""
    rows = split(rows).requested
    cases = read_cases(rows[~are_variants(rows)], baseline)
    found = estimate(cases.log_speedup)
    table = cases.info[[*CASE_COLUMNS]].assign(log=found.mean, error=found.standard_error)
    return table[~cases.is_baseline & ~np.isnan(found.standard_error)]
