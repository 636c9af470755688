"""Differences between repeated runs beyond those of their passes. Reasons: docs/statistics.md."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame
from scipy.special import chdtri

from convsweep.analysis.cases import are_variants, read_cases, split
from convsweep.analysis.estimates import CONFIDENCE, Array, Estimate, Interval, estimate, moderated
from convsweep.results.schema import CASE_COLUMNS

_LEAST_RUNS = 3


class Drift(NamedTuple):
    """Part of a speedup that a run has on its own, estimated from repeated runs."""

    deviation: Interval  # standard deviation of the log speedup, over all comparisons
    error: Estimate
    """To be subtracted from an estimate of one run, which widens its interval."""
    of_comparisons: Estimate  # the same for each comparison, which drift differently
    runs: Collection[str] = ()  # names of the runs that it is estimated from
    cases: DataFrame = DataFrame()  # those of the comparisons

    def errors(self, cases: DataFrame) -> Estimate:
        """Return the part of each case, a row of `cases`; that of all where the runs lack it."""
        keys = [*CASE_COLUMNS]
        places = cases[keys].merge(self.cases.reset_index(), how="left", on=keys)["index"]
        known, places = places.notna().to_numpy(), places.fillna(0).astype("int64")
        found = zip(self.error, self.of_comparisons, strict=True)
        return Estimate(*(np.where(known, own[places], common) for common, own in found))


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
    cases = found.drop_duplicates("case").sort_values("case", ignore_index=True)
    return drift._replace(runs={*found["run"]}, cases=cases[[*CASE_COLUMNS]])


def estimate_drift(logs: Array, errors: Array) -> Drift:
    """Return the drift of log speedups with standard errors, (runs, comparisons); three runs.

    The variance between runs less the mean squared standard error of a run: over all comparisons,
    and of each, for which the variance between runs is shrunk towards that of the others. If these
    differ by chance only, each has the drift of all. NaN is a missing comparison.
    """
    deviations = np.nan_to_num(logs - np.nanmean(logs, axis=0))
    counts = (~np.isnan(logs)).sum(axis=0) - 1.0
    sums, squares = (deviations**2).sum(axis=0), np.nanmean(errors**2, axis=0)
    between, within = sums.sum() / counts.sum(), np.average(squares, weights=counts)
    degrees = _degrees(deviations)
    tails = chdtri(degrees, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) / degrees
    ends = np.sqrt(np.maximum(between / np.append(1.0, tails) - within, 0))
    own, own_degrees = moderated(sums / counts, counts)
    if np.ptp(own) == 0:  # no comparison drifts more than others
        squares = within
    return Drift(
        Interval(*map(float, ends)),
        _excess(np.asarray(between), within, np.asarray(degrees)),
        _excess(own, squares, np.minimum(own_degrees, degrees)),
    )


def _excess(variances: Array, known: Array, degrees: Array) -> Estimate:
    """Return zero with the error by which variances exceed the `known` part of them."""
    more = np.maximum(variances - known, 0)
    # Those of the difference (Satterthwaite 1946); the passes have many.
    share = np.divide(more, variances, out=np.zeros_like(more), where=variances > 0)
    return Estimate(np.zeros_like(more), np.sqrt(more), np.maximum(degrees * share**2, 1.0))


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
