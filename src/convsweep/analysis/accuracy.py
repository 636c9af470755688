"""Accuracy study: qualities, differences paired by seed, Pareto front."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pandas import DataFrame, Series
from scipy.special import stdtr

from convsweep.analysis.estimates import Estimate, Interval, estimate, interval, plain_interval
from convsweep.analysis.verdicts import reject_at_fdr
from convsweep.results.accuracy import EQUAL_COST, SEPARABLE, STANDARD, VARIANTS

SINGLE, BATCH = "inference_s", "batch_inference_s"
"""Columns with the seconds of a call with one sample, and with a batch."""
LOWER, HIGHER, SAME, UNDECIDED = FINDINGS = ("lower", "higher", "same", "undecided")
"""Verdicts on a difference in accuracy."""
VARIANT_NAMES = {
    STANDARD: "standard", SEPARABLE: "separable", EQUAL_COST: "separable, equal MACs",
}  # fmt: skip
MIN_SEEDS = 5  # With fewer seeds no two accuracies are called the same
SAME_WITHIN = 0.02
"""Accuracies are the same if the interval of their difference is within this share."""


class Quality(NamedTuple):
    """One variant on one data set, over its seeds; accuracy is a share, times are in seconds."""

    dataset: str
    variant: str
    seeds: int
    parameters: int
    macs: int
    accuracy: Interval
    training: Interval
    single: Interval
    batch: Interval
    batch_size: int


class AccuracyDifference(NamedTuple):
    """One variant against the standard one on the same splits, paired by seed."""

    dataset: str
    variant: str
    seeds: int
    difference: Interval  # accuracy minus that of the standard network, as a share
    decided: bool
    """Whether the difference is significant, corrected for all comparisons of the study."""
    mac_ratio: float  # MACs of the standard network / of this one; above 1 is fewer
    single: Interval
    """Speedup of a call with one sample over the standard network; above 1 is faster."""
    batch: Interval  # speedup of a call with a batch

    @property
    def finding(self) -> str:
        """Verdict; `same` needs a narrow interval, not only a missing difference."""
        if self.decided:
            return LOWER if self.difference.value < 0 else HIGHER
        narrow = max(-self.difference.low, self.difference.high) <= SAME_WITHIN
        return SAME if narrow and self.seeds >= MIN_SEEDS else UNDECIDED


class Study(NamedTuple):
    """Findings of a study, and its rows."""

    qualities: Sequence[Quality]
    comparisons: Sequence[AccuracyDifference]
    rows: DataFrame

    @property
    def datasets(self) -> list[str]:
        """Data sets on which networks were trained, in the order of the run."""
        return list(dict.fromkeys(quality.dataset for quality in self.qualities))


def read_study(rows: DataFrame) -> Study:
    """Return the findings of a run; `rows` come from `results.accuracy.ACCURACY_TABLE`."""
    ok = rows[rows["status"] == "ok"]
    groups = (
        ok[(ok["dataset"] == dataset) & (ok["variant"] == variant)]
        for dataset in dict.fromkeys(ok["dataset"])
        for variant in VARIANTS
    )
    return Study([_quality(own) for own in groups if len(own)], _differences(ok), rows)


def _quality(own: DataFrame) -> Quality:
    first = own.iloc[0]
    return Quality(
        dataset=str(first["dataset"]),
        variant=str(first["variant"]),
        seeds=len(own),
        parameters=int(first["parameters"]),
        macs=int(first["macs"]),
        accuracy=_clip(interval_over_splits(own["accuracy"], own), 0.0),
        training=_mean(own["training_s"]),
        single=_mean(own[SINGLE]),
        batch=_mean(own[BATCH]),
        batch_size=int(first["batch_size"]),
    )


def _mean(seconds: Series) -> Interval:
    """Return the geometric mean over seeds."""
    return interval(estimate(np.log(seconds.to_numpy(dtype="float64"))))


def _clip(found: Interval, least: float) -> Interval:
    """Clip the ends of an interval to `least` and 1."""
    return Interval(found.value, max(found.low, least), min(found.high, 1.0))


def estimate_over_splits(values: Series, rows: DataFrame) -> Estimate:
    """Return the mean of one value per seed, with the standard error of Nadeau & Bengio (2003).

    Training sets of different seeds share samples, so values are correlated: the tested share is
    added to the variance of the mean. A spread below the step of one sample is not resolved. The
    error of a single seed is NaN.
    """
    seeds = len(values)
    tested = float((rows["test_samples"] / rows["train_samples"]).mean())
    step = 1 / float(rows["test_samples"].min())
    variance = np.maximum(values.var(ddof=1), step**2 / 12)  # NaN for a single seed
    error = np.sqrt(variance * (1 / seeds + tested))
    return Estimate(*map(np.asarray, (values.mean(), error, seeds - 1)))


def interval_over_splits(values: Series, rows: DataFrame) -> Interval:
    """Return Student's 95 % interval of `estimate_over_splits`."""
    return plain_interval(estimate_over_splits(values, rows))


def _differences(ok: DataFrame) -> list[AccuracyDifference]:
    """Compare every variant that shares a seed with the standard one."""
    pairs = [
        (dataset, variant, pair)
        for dataset in dict.fromkeys(ok["dataset"])
        for variant in VARIANTS
        if variant != STANDARD and len(pair := _pair(ok, dataset, variant))
    ]
    if not pairs:
        return []
    decided = reject_at_fdr(np.array([_p_value(pair) for _, _, pair in pairs]))
    return [
        AccuracyDifference(
            dataset=str(dataset),
            variant=variant,
            seeds=len(pair),
            difference=_clip(interval_over_splits(pair["difference"], pair), -1.0),
            decided=bool(is_decided),
            mac_ratio=float(pair["macs_standard"].iloc[0] / pair["macs"].iloc[0]),
            single=_speedup(pair, SINGLE),
            batch=_speedup(pair, BATCH),
        )
        for (dataset, variant, pair), is_decided in zip(pairs, decided, strict=True)
    ]


def _pair(ok: DataFrame, dataset: str, variant: str) -> DataFrame:
    """Return one row per shared seed: own columns, and those of the standard with a suffix."""
    own = ok[ok["dataset"] == dataset]
    one, other = own[own["variant"] == variant], own[own["variant"] == STANDARD]
    pair = one.merge(other, on="seed", suffixes=("", "_standard"))
    return pair.assign(difference=pair["accuracy"] - pair["accuracy_standard"])


def _p_value(pair: DataFrame) -> float:
    """Return the two-sided p-value of no difference; 1 if there is no interval."""
    mean, error, degrees = estimate_over_splits(pair["difference"], pair)
    return float(2 * stdtr(degrees, -abs(mean) / error)) if degrees else 1.0


def _speedup(pair: DataFrame, name: str) -> Interval:
    return _mean(pair[f"{name}_standard"] / pair[name])


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of the points (seconds, accuracy) that no other one beats, fast first."""
    return sorted(
        (
            place
            for place, (time, share) in enumerate(points)
            if not any(t <= time and a >= share and (t, a) != (time, share) for t, a in points)
        ),
        key=lambda place: points[place],
    )
