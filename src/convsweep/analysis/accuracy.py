"""What an accuracy study says, and how surely: qualities, paired differences, the Pareto front."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from convsweep.analysis.estimates import (
    CONFIDENCE,
    Array,
    Estimate,
    Interval,
    estimate,
    interval,
    stacked,
)
from convsweep.analysis.verdicts import reject_at_fdr, verdicts
from convsweep.results.accuracy import EPOCHS, STANDARD, VARIANTS

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SINGLE, BATCH = "inference_s", "batch_inference_s"
"""The columns of seconds of a call: with one sample, and with a batch."""

LOSES, GAINS, SAME, UNCERTAIN = "loses", "gains", "the same", "too uncertain to tell"
"""What can be told of a difference in accuracy."""

ENOUGH_SEEDS = 5
"""Fewer tell no two accuracies to be the same."""
SAME_WITHIN = 0.02
"""A share: accuracies whose difference surely is no larger are the same."""


class Quality(NamedTuple):
    """One variant on one data set, over its seeds."""

    dataset: str
    variant: str
    seeds: int
    width: int
    parameters: int
    macs: int
    accuracy: Interval
    """A share."""
    loss: float
    training: Interval
    """Seconds, and so below."""
    single: Interval
    batch: Interval
    batch_size: int


class Comparison(NamedTuple):
    """One variant against the standard one on the same splits; paired by seed."""

    dataset: str
    variant: str
    seeds: int
    difference: Interval
    """Accuracy less the standard one's, a share."""
    decided: bool
    """Whether there is a difference, corrected for all comparisons of the study."""
    mac_ratio: float
    """MACs of the standard one / of this one; above 1 is fewer."""
    parameter_ratio: float
    single: Interval
    """Speedup of a call with one sample over the standard one's; above 1 is faster."""
    single_verdict: str
    batch: Interval
    """Of a call with a batch."""
    batch_verdict: str

    @property
    def finding(self) -> str:
        """That no difference was found shows none to be small: only a narrow interval does."""
        if self.decided:
            return LOSES if self.difference.value < 0 else GAINS
        narrow = max(-self.difference.low, self.difference.high) <= SAME_WITHIN
        return SAME if narrow and self.seeds >= ENOUGH_SEEDS else UNCERTAIN


class Study(NamedTuple):
    """What is drawn and told."""

    qualities: Sequence[Quality]
    comparisons: Sequence[Comparison]
    rows: DataFrame

    @property
    def datasets(self) -> list[str]:
        """The data sets on which networks were trained, in the order of the run."""
        return list(dict.fromkeys(quality.dataset for quality in self.qualities))

    @property
    def is_thorough(self) -> bool:
        """Whether it may speak for more than itself: enough seeds, and training cut by nobody."""
        seeds = [comparison.seeds for comparison in self.comparisons]
        ok = self.rows[self.rows["status"] == "ok"]
        whole = ok["epochs"].astype("float64") >= ok["dataset"].map(EPOCHS).astype("float64")
        return bool(seeds) and min(seeds) >= ENOUGH_SEEDS and bool(whole.all())


def read_study(rows: DataFrame) -> Study:
    """The findings of a run, whose rows come from `accuracy.store.load`."""
    ok = rows[rows["status"] == "ok"]
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    groups = sorted(
        ok.groupby(["dataset", "variant"], sort=False),
        key=lambda group: (list(ok["dataset"]).index(group[0][0]), order[str(group[0][1])]),
    )
    return Study([_quality(key, own) for key, own in groups], _comparisons(ok), rows)


def _quality(key: Hashable, own: DataFrame) -> Quality:
    assert isinstance(key, tuple)
    first = own.iloc[0]
    return Quality(
        dataset=str(key[0]),
        variant=str(key[1]),
        seeds=len(own),
        width=int(first["width"]),
        parameters=int(first["parameters"]),
        macs=int(first["macs"]),
        accuracy=_within(interval_over_splits(own["accuracy"], own), 0.0),
        loss=float(own["loss"].mean()),
        training=interval(estimate(_logs(own["training_s"]))),
        single=interval(estimate(_logs(own[SINGLE]))),
        batch=interval(estimate(_logs(own[BATCH]))),
        batch_size=int(first["batch_size"]),
    )


def _logs(seconds: Series) -> Array:
    return np.asarray(np.log(seconds.to_numpy(dtype="float64")))


def _within(found: Interval, least: float) -> Interval:
    """An interval's ends brought back to where a share, or a difference of two, can lie."""
    return Interval(found.value, max(found.low, least), min(found.high, 1.0))


class SplitEstimate(NamedTuple):
    """A mean over splits of the same samples."""

    mean: float
    standard_error: float
    """NaN where one split can't tell it."""
    degrees: int


def estimate_over_splits(values: Series, rows: DataFrame) -> SplitEstimate:
    """The mean of one value a seed, and its standard error by Nadeau & Bengio (2003).

    Training sets of different seeds share samples, so that values of different seeds are alike
    beyond what their spread shows: to the variance of the mean comes the share that is tested.
    Accuracies come in steps of one sample; a spread below such a step can't be seen.
    """
    seeds = len(values)
    if seeds < 2:
        return SplitEstimate(float(values.mean()), float("nan"), 0)
    tested = float((rows["test_samples"] / rows["train_samples"]).mean())
    step = 1 / float(rows["test_samples"].min())
    variance = max(float(values.var(ddof=1)), step**2 / 12)
    error = float(np.sqrt(variance * (1 / seeds + tested)))
    return SplitEstimate(float(values.mean()), error, seeds - 1)


def interval_over_splits(values: Series, rows: DataFrame) -> Interval:
    """Student's 95 % interval of `estimate_over_splits`."""
    mean, error, degrees = estimate_over_splits(values, rows)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error if degrees else float("nan")
    return Interval(mean, mean - half, mean + half)


def _comparisons(ok: DataFrame) -> list[Comparison]:
    """Every variant that shares a seed with the standard one."""
    pairs = [
        (dataset, variant, pair)
        for dataset in dict.fromkeys(ok["dataset"])
        for variant in VARIANTS
        if variant != STANDARD and len(pair := _pair(ok, dataset, variant))
    ]
    if not pairs:
        return []
    decided = reject_at_fdr(np.array([_p_value(pair) for _, _, pair in pairs]))
    single, batch = (_verdicts([pair for _, _, pair in pairs], name) for name in (SINGLE, BATCH))
    return [
        Comparison(
            dataset=str(dataset),
            variant=variant,
            seeds=len(pair),
            difference=_within(interval_over_splits(_difference(pair), pair), -1.0),
            decided=bool(decided[place]),
            mac_ratio=float(pair["macs_standard"].iloc[0] / pair["macs"].iloc[0]),
            parameter_ratio=float(pair["parameters_standard"].iloc[0] / pair["parameters"].iloc[0]),
            single=interval(estimate(_log_speedups(pair, SINGLE))),
            single_verdict=str(single[place]),
            batch=interval(estimate(_log_speedups(pair, BATCH))),
            batch_verdict=str(batch[place]),
        )
        for place, (dataset, variant, pair) in enumerate(pairs)
    ]


def _pair(ok: DataFrame, dataset: str, variant: str) -> DataFrame:
    """A row a seed that both have: this one's columns, and the standard one's with a suffix."""
    own = ok[ok["dataset"] == dataset]
    one, other = own[own["variant"] == variant], own[own["variant"] == STANDARD]
    return one.merge(other, on="seed", suffixes=("", "_standard"))


def _difference(pair: DataFrame) -> Series:
    return pair["accuracy"] - pair["accuracy_standard"]


def _p_value(pair: DataFrame) -> float:
    """How well "no difference" fits, both sides counted; 1 where there is no interval."""
    mean, error, degrees = estimate_over_splits(_difference(pair), pair)
    return float(2 * stats.t.sf(abs(mean) / error, degrees)) if degrees else 1.0


def _log_speedups(pair: DataFrame, name: str) -> Array:
    return _logs(pair[f"{name}_standard"]) - _logs(pair[name])


def _verdicts(pairs: Sequence[DataFrame], name: str) -> Sequence[object]:
    """`faster`, `slower`, `same` or `undecided`, corrected for so many comparisons."""
    found = verdicts(Estimate(*estimate(stacked([_log_speedups(pair, name) for pair in pairs]))))
    return list(found)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (seconds, accuracy) no other one beats: from fast to accurate."""
    return sorted(
        (
            place
            for place, (time, share) in enumerate(points)
            if not any(t <= time and a >= share and (t, a) != (time, share) for t, a in points)
        ),
        key=lambda place: points[place],
    )
