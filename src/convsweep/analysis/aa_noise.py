"""Noise of a machine from an A/A test: backends timed against variants of themselves.

A backend and its A/A variant are the same code: a verdict `faster` or `slower` is a false alarm. A
variant with 5 % more work is 5 % slower: any other verdict is a miss.
"""

from typing import NamedTuple

import numpy as np
from pandas import DataFrame
from scipy.special import betaincinv

from convsweep.analysis.cases import read_cases
from convsweep.analysis.estimates import CONFIDENCE, Estimate, degrees, estimate
from convsweep.analysis.run import status_counts
from convsweep.analysis.summary import summarize
from convsweep.analysis.verdicts import POWER, detectable
from convsweep.results.schema import AGAIN, CASE_COLUMNS, SLOWED

_EFFECT = 0.05
MOST_PASSES = 1000


class Noise(NamedTuple):
    """Results of an A/A test; rates and relative effects."""

    passes: int
    comparisons: int  # number of comparisons of a backend with itself
    false_alarms: int  # number of them with the verdict `faster` or `slower`
    alarm_rate_high: float  # upper 95 % confidence bound of the rate of false alarms
    trials: int  # number of comparisons of a backend with itself at 5 % more work
    found: int  # number of them with the verdict `slower`
    spread: float  # standard deviation of a speedup from pass to pass; the median over comparisons
    smallest_effect: float  # effect that nine of ten comparisons detect with a power of 90 %
    passes_for_5_percent: int  # number of passes that detect an effect of 5 % in the same way


def measure_noise(measurements: DataFrame) -> Noise:
    """Return the noise of an A/A run.

    Raises:
        ValueError: the run has no time, one pass, or no backend with its variants.
    """
    first = measurements.drop_duplicates([*CASE_COLUMNS], keep="last")
    if not (first["status"] == "ok").any():
        raise ValueError(f"no case has a time: {status_counts(first)}")
    if (number := measurements["pass_index"].nunique()) < 2:
        raise ValueError(f"an A/A test needs 2 passes, the run has {number}; --resume continues it")
    same, slowed = _pairs(measurements, AGAIN), _pairs(measurements, SLOWED)
    if same.empty or slowed.empty or (same_cases := _compared(same)).empty:
        raise ValueError("the run has no backend with its A/A variants; run `convsweep noise`")
    trials = _compared(slowed)
    logs = read_cases(same, "itself").log_speedup[same_cases.index]
    passes = int(np.median((~np.isnan(logs)).sum(axis=1)))
    deviations = estimate(logs).standard_error * np.sqrt((~np.isnan(logs)).sum(axis=1))
    alarms = int(same_cases["verdict"].isin(["faster", "slower"]).sum())
    typical = float(np.nanquantile(deviations, POWER))
    # The upper end of the exact one-sided interval (Clopper & Pearson 1934).
    rate = betaincinv(alarms + 1, len(same_cases) - alarms, CONFIDENCE)
    return Noise(
        passes=passes,
        comparisons=len(same_cases),
        false_alarms=alarms,
        alarm_rate_high=float(rate) if alarms < len(same_cases) else 1.0,
        trials=len(trials),
        found=int((trials["verdict"] == "slower").sum()),
        spread=float(np.nanmedian(deviations)),
        smallest_effect=_detectable(typical, passes),
        passes_for_5_percent=next(
            (n for n in range(2, MOST_PASSES) if _detectable(typical, n) <= _EFFECT), MOST_PASSES
        ),
    )


def _pairs(measurements: DataFrame, suffix: str) -> DataFrame:
    """Return the rows of backends with that variant, as the backends `itself` and `variant`."""
    names = measurements["backend"].str.rpartition("+")
    is_variant = names[2] == suffix
    has_variant = measurements["backend"].isin(names.loc[is_variant, 0])
    paired = measurements.assign(
        layer=names[0].where(is_variant, measurements["backend"]),
        backend=is_variant.map({True: "variant", False: "itself"}).astype("string"),
    )
    return paired[is_variant | has_variant]


def _compared(rows: DataFrame) -> DataFrame:
    """Return the variants with a speedup over their originals."""
    summary = summarize(rows, "itself")
    return summary[(summary["backend"] == "variant") & summary["speedup"].notna()]


def _detectable(deviation: float, passes: int) -> float:
    """Return the relative effect whose interval clears the margin with a power of 90 %."""
    if passes < 2:
        return float("nan")
    deviation_of_mean = np.asarray(deviation / np.sqrt(passes))
    return float(detectable(Estimate(np.zeros(()), deviation_of_mean, np.asarray(degrees(passes)))))
