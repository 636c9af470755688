"""An accuracy study in sentences, each with its interval; different data, different sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convsweep import formatting
from convsweep.analysis.accuracy import (
    GAINS,
    LOSES,
    SAME,
    SAME_WITHIN,
    UNCERTAIN,
    Comparison,
    Quality,
    Study,
)
from convsweep.analysis.estimates import Interval
from convsweep.report.tables import Table
from convsweep.results.accuracy import EQUAL_COST, SEPARABLE, STANDARD

NAMES = {
    STANDARD: "standard",
    SEPARABLE: "separable",
    EQUAL_COST: "separable at equal cost",
}
_NEAR = 1.05  # MACs that differ by less are called equal
_MARGIN = f"{100 * SAME_WITHIN:g} points"


def sentences(study: Study) -> list[str]:
    """The verdict over all data sets, then a sentence for each comparison; what is missing last."""
    found = [
        *(_overall(study, variant) for variant in (SEPARABLE, EQUAL_COST)),
        *(_compared(comparison, study) for comparison in study.comparisons),
    ]
    return [*filter(None, found), *absent(study)]


def _overall(study: Study, variant: str) -> str:
    """Where the variant loses, gains or keeps accuracy; empty where one seed is all there is."""
    own = [c for c in study.comparisons if c.variant == variant and c.seeds > 1]
    told = {
        finding: f"on {formatting.join(names)}"
        for finding in (LOSES, GAINS, SAME, UNCERTAIN)
        if (names := [c.dataset for c in own if c.finding == finding])
    }
    open_, subject = told.pop(UNCERTAIN, ""), _subject(variant)
    if told:
        rest = f"; {open_} it is {UNCERTAIN}" if open_ else ""
        return f"{subject} {', and '.join(f'{_OVER_ALL[f]} {told[f]}' for f in told)}{rest}."
    if open_:
        return f"Whether {subject[0].lower()}{subject[1:]} cost accuracy {open_} is {UNCERTAIN}."
    return ""


_OVER_ALL = {
    LOSES: "lose accuracy",
    GAINS: "gain accuracy",
    SAME: f"have the same accuracy within {_MARGIN}",
}


def _subject(variant: str) -> str:
    layers = "Separable layers in place of standard ones"
    return layers if variant == SEPARABLE else f"{layers}, widened to equal cost,"


def _compared(comparison: Comparison, study: Study) -> str:
    """Accuracy first, then what was saved."""
    both = {q.variant: q for q in study.qualities if q.dataset == comparison.dataset}
    own, standard = both[comparison.variant], both[STANDARD]
    return (
        f"{comparison.dataset}, {NAMES[comparison.variant]} (width {own.width}): "
        f"{_change(comparison)}: {_percent(own)} against {_percent(standard)}. "
        f"{_costs(comparison)}; {_times(comparison, own.batch_size)}."
    )


def _change(comparison: Comparison) -> str:
    """`loses 1.20 [0.80, 1.60] points`, the interval that of the difference in that direction."""
    if comparison.seeds == 1:
        return "one seed"
    value, low, high = comparison.difference
    told = f"{points(comparison.difference)} points"
    return {
        LOSES: f"loses {points(Interval(-value, -high, -low))} points",
        GAINS: f"gains {told}",
        SAME: f"the same within {_MARGIN}, {told}",
        UNCERTAIN: f"{UNCERTAIN} a difference, {told}",
    }[comparison.finding]


def points(share: Interval) -> str:
    """A difference of shares in percentage points, such as `-0.80 [-2.60, 1.00]`."""
    value, low, high = (_fixed(100 * end) for end in share)
    return formatting.with_interval(value, low, high)


def _fixed(number: float) -> str:
    return formatting.NOT_MEASURED if math.isnan(number) else f"{number:.2f}"


def _percent(quality: Quality) -> str:
    return f"{100 * quality.accuracy.value:.1f} %"


def _costs(comparison: Comparison) -> str:
    ratio = comparison.mac_ratio
    if max(ratio, 1 / ratio) < _NEAR:
        return f"The MACs are equal within {abs(ratio - 1) * 100:.1f} %"
    many = "fewer" if ratio > 1 else "more"
    return f"It has {formatting.digits(max(ratio, 1 / ratio))} times {many} MACs"


def _times(comparison: Comparison, batch_size: int) -> str:
    said = [
        f"{_speed(comparison.single, comparison.single_verdict)} with one sample",
        f"{_speed(comparison.batch, comparison.batch_verdict)} with {batch_size}",
    ]
    return " and ".join(said)


def _speed(speedup: Interval, verdict: str) -> str:
    if verdict == "slower":
        inverse = (1 / end for end in (speedup.value, speedup.high, speedup.low))
        return f"it takes {formatting.interval(*inverse)} times as long"
    if verdict == "faster":
        return f"it is {formatting.interval(*speedup)} times as fast"
    if verdict == "same":
        return f"it is as fast ({formatting.interval(*speedup)} times)"
    return f"which is faster is too uncertain to tell ({formatting.interval(*speedup)} times)"


def absent(study: Study) -> list[str]:
    """What was not trained, and why."""
    missing = study.rows[study.rows["status"] != "ok"].copy()
    missing["reason"] = missing["reason"].fillna("no reason given")
    return [
        f"{dataset}, {formatting.count(len(rows), 'network')}: {status}, {reason}."
        for (dataset, status, reason), rows in missing.groupby(
            ["dataset", "status", "reason"], sort=False
        )
    ]


def quality_table(study: Study) -> Table:
    """A row a data set and variant: accuracy and what it costs."""
    heads = ("data set", "network", "width", "parameters", "MACs", "accuracy, % [95 %]", "loss",
             "training [95 %]", "one sample [95 %]", "a batch [95 %]", "seeds")  # fmt: skip
    rows = [
        (
            quality.dataset,
            NAMES[quality.variant],
            str(quality.width),
            f"{quality.parameters:,}",
            f"{quality.macs:,}",
            points(quality.accuracy),
            formatting.digits(quality.loss),
            *map(_seconds, (quality.training, quality.single, quality.batch)),
            str(quality.seeds),
        )
        for quality in study.qualities
    ]
    return Table(heads, rows, frozenset(heads[2:]))


def comparison_table(study: Study) -> Table:
    """A row a data set and variant: its difference to the standard one."""
    heads = ("data set", "network", "accuracy less standard's, points [95 %]", "verdict",
             "times fewer MACs", "speedup, one sample [95 %]",
             "speedup, a batch [95 %]")  # fmt: skip
    rows = [
        (
            comparison.dataset,
            NAMES[comparison.variant],
            points(comparison.difference),
            _verdict(comparison),
            f"{comparison.mac_ratio:.3f}",
            *(formatting.interval(*speedup) for speedup in (comparison.single, comparison.batch)),
        )
        for comparison in study.comparisons
    ]
    return Table(heads, rows, frozenset((heads[2], *heads[4:])))


def _verdict(comparison: Comparison) -> str:
    finding = comparison.finding
    return f"the same within {_MARGIN}" if finding == SAME else finding


def _seconds(found: Interval) -> str:
    return formatting.with_interval(*map(formatting.seconds, found))


def training(study: Study) -> str:
    """`digits with 5 seeds of 12 epochs`; a data set for each part."""
    ok = study.rows[study.rows["status"] == "ok"]
    told = []
    for dataset, own in ok.groupby("dataset", sort=False):
        epochs = sorted(map(int, own["epochs"].dropna().unique()))
        several = formatting.join([str(number) for number in epochs])
        each = f" of {several} epoch{'s' * (epochs != [1])}" if epochs else ""
        told.append(f"{dataset} with {formatting.count(own['seed'].nunique(), 'seed')}{each}")
    return formatting.join(told) or "no network was trained"


def notes(study: Study) -> Sequence[str]:
    """How it was measured, and what it does not say."""
    ok = study.rows[study.rows["status"] == "ok"]
    if ok.empty:
        return []
    seeds = formatting.count(ok["seed"].nunique(), "seed")
    threads = formatting.count(int(ok["threads"].iloc[0]), "thread")
    sizes = [
        f"{dataset} {own['train_samples'].median():.0f} and {own['test_samples'].median():.0f}"
        for dataset, own in ok.groupby("dataset", sort=False)
    ]
    return [
        f"{seeds}, {threads}; each seed draws its own disjoint split, the same for all networks, "
        "and its own weights; every network is trained alike. Times are of the trained network "
        "with batch normalisation folded into its convolutions, in a fresh process a seed.",
        f"Samples to train and to test, median over seeds: {formatting.join(sizes)}.",
        "Intervals of accuracies are Student's over seeds, widened because splits share samples "
        "(Nadeau & Bengio 2003). The verdicts on "
        f"{formatting.count(len(study.comparisons), 'difference')} are corrected for their number "
        "(Benjamini & Hochberg 1995), the intervals are not.",
        "Small networks and small data: docs/accuracy.md tells what this does not say of large "
        "ones.",
    ]
