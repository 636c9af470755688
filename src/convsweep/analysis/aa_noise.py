"""How far this machine's timings can be believed, from backends that were timed against themselves.

A backend and its twin are the same code: a verdict `faster` or `slower` between them is false. A
twin with 5 % more work is 5 % slower: a verdict that misses it is blind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from convsweep.analysis.cases import read_cases
from convsweep.analysis.estimates import CONFIDENCE, degrees, estimate
from convsweep.analysis.summary import summarize
from convsweep.results.schema import MARGIN

if TYPE_CHECKING:
    from pandas import DataFrame

AGAIN, BUSIER = "again", "5%"
_POWER = 0.9
_EFFECT = 0.05
MOST_PASSES = 1000


class Noise(NamedTuple):
    """What an A/A run tells of its machine; shares and relative effects."""

    passes: int
    comparisons: int
    """Of a backend with itself."""
    false_alarms: int
    """How many of them were called faster or slower."""
    alarm_rate_high: float
    """The most that the rate of false alarms may be, with 95 % confidence."""
    trials: int
    """Comparisons of a backend with itself at 5 % more work."""
    found: int
    """How many of them were called slower."""
    spread: float
    """Of a speedup from pass to pass, like a standard deviation; the median over comparisons."""
    smallest_effect: float
    """An effect that nine of ten comparisons would find at nine of ten tries."""
    passes_for_5_percent: int
    """Passes for an effect of 5 % to be found so."""


def measure_noise(measurements: DataFrame) -> Noise:
    """The noise of a run of backends beside their twins.

    Raises:
        ValueError: no backend of the run was timed beside a twin.
    """
    same, slowed_variant = _pairs(measurements, AGAIN), _pairs(measurements, BUSIER)
    if measurements["pass_index"].nunique() < 2:
        raise ValueError("one pass does not tell how much passes differ")
    if same.empty or slowed_variant.empty or (same_cases := _compared(same)).empty:
        raise ValueError("no backend was timed beside its twin: run `convsweep noise`")
    trials = _compared(slowed_variant)
    logs = read_cases(same, "itself").log_speedup[same_cases.index]
    passes = int(np.median((~np.isnan(logs)).sum(axis=1)))
    deviations = estimate(logs).standard_error * np.sqrt((~np.isnan(logs)).sum(axis=1))
    alarms = int(same_cases["verdict"].isin(["faster", "slower"]).sum())
    typical = float(np.nanquantile(deviations, _POWER))
    return Noise(
        passes=passes,
        comparisons=len(same_cases),
        false_alarms=alarms,
        alarm_rate_high=float(
            stats.binomtest(alarms, len(same_cases), alternative="less").proportion_ci().high
        ),
        trials=len(trials),
        found=int((trials["verdict"] == "slower").sum()),
        spread=float(np.nanmedian(deviations)),
        smallest_effect=_detectable(typical, passes),
        passes_for_5_percent=next(
            (n for n in range(2, MOST_PASSES) if _detectable(typical, n) <= _EFFECT), MOST_PASSES
        ),
    )


def _pairs(measurements: DataFrame, twin: str) -> DataFrame:
    """The rows of backends and of that twin, as two backends on as many problems as there are."""
    names = measurements["backend"].str.rpartition("+")
    is_twin = names[2] == twin
    has_twin = measurements["backend"].isin(names.loc[is_twin, 0])
    told = measurements.assign(
        layer=names[0].where(is_twin, measurements["backend"]),
        backend=is_twin.map({True: "twin", False: "itself"}).astype("string"),
    )
    return told[is_twin | has_twin]


def _compared(rows: DataFrame) -> DataFrame:
    """The twins that have a speedup over their originals."""
    summary = summarize(rows, "itself")
    return summary[(summary["backend"] == "twin") & summary["speedup"].notna()]


def _detectable(deviation: float, passes: int) -> float:
    """The relative effect whose interval clears the margin at nine of ten tries."""
    if passes < 2:
        return float("nan")
    sure, often = (
        float(stats.t.ppf(share, degrees(passes))) for share in ((1 + CONFIDENCE) / 2, _POWER)
    )
    return float(np.expm1(np.log1p(MARGIN) + (sure + often) * deviation / np.sqrt(passes)))
