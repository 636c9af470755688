"""The lecture's page of a report: a row a claim, what it says, what was measured, does it hold."""

from __future__ import annotations

from collections.abc import Sequence

from convsweep import formatting
from convsweep.analysis.claims.claims import Claim
from convsweep.analysis.claims.evidence import ClaimResult, evaluate
from convsweep.analysis.run import Run
from convsweep.formatting import NOT_MEASURED
from convsweep.report.plots import claims as chart
from convsweep.report.section import Section
from convsweep.report.sections.claims_text import named, sentence, tally, whereabouts
from convsweep.report.tables import Table, by_setting

_NOTES = (
    "A claim is a ratio of two times of this run, both of the same pass; intervals are of 95 %, "
    "over passes, and a claim's own is of the geometric mean over its pairs.",
    "A pair holds where measured / claimed lies surely within the bounds of its row, does not "
    "where it lies surely outside, and is undecided otherwise, corrected for the {pairs} of all "
    "claims (Benjamini & Hochberg 1995). A claim holds where all its pairs hold.",
    "These verdicts are about time. What is computed is not in doubt: before anything is timed, "
    "every backend is held to the same float64 sum.",
)


def section(run: Run) -> Section | None:
    """The claims that a run has pairs of problems for; None where there is no such pair."""
    weighed = {setting: evaluate(run.within(setting)) for setting in run.settings}
    weighed = {
        setting: evidence
        for setting, evidence in weighed.items()
        if any(each.pairs for each in evidence)
    }
    if not weighed:
        return None
    several = len(run.settings) > 1
    pairs = sum(len(each.pairs) for evidence in weighed.values() for each in evidence)
    pictures = [
        picture.of(setting) if several else picture
        for setting, evidence in weighed.items()
        for picture in [chart.draw(evidence, run.baseline)]
    ]
    return Section(
        title="The lecture, measured",
        sentences=[
            f"On {setting}: {said}" if several else said
            for setting, evidence in weighed.items()
            for said in _sentences(evidence, run.baseline)
        ],
        tables=[
            ("What the lecture says, and what was measured", _claims_table(weighed, run.baseline)),
            ("Every pair behind it", _pairs_table(weighed)),
        ],
        pictures=pictures,
        notes=[note.format(pairs=formatting.count(pairs, "pair")) for note in _NOTES],
    )


def _sentences(weighed: Sequence[ClaimResult], baseline: str) -> list[str]:
    measured = (each for each in weighed if each.pairs)
    return [f"{tally(weighed)}.", *(sentence(each, baseline) for each in measured)]


def _claims_table(weighed: dict[str, list[ClaimResult]], baseline: str) -> Table:
    heads = ("setting", "claim", "in this code", "pairs", "claimed ratio", "measured ratio",
             "measured / claimed [95 %]", "holds if", "does it hold?")  # fmt: skip
    rows = [
        (setting, *_claim_row(each, baseline))
        for setting, evidence in weighed.items()
        for each in evidence
    ]
    return by_setting(heads, rows, {*heads[3:7]})


def _claim_row(evidence: ClaimResult, baseline: str) -> tuple[str, ...]:
    claim, pairs = evidence.claim, evidence.pairs
    where = whereabouts(evidence)
    return (
        claim.statement,
        claim.code.format(baseline=baseline),
        str(len(pairs)),
        _range([each.pair.claimed for each in pairs], "below " * claim.below),
        _range([each.ratio.value for each in pairs]),
        formatting.interval(*evidence.mean),
        _bounds(claim),
        f"{evidence.verdict}: {where}" if where else evidence.verdict,
    )


def _range(values: Sequence[float], prefix: str = "") -> str:
    """`1.90 to 4.12`."""
    if not values:
        return NOT_MEASURED
    ends = dict.fromkeys((formatting.digits(min(values)), formatting.digits(max(values))))
    return prefix + " to ".join(ends)


def _bounds(claim: Claim) -> str:
    low, high = map(formatting.digits, claim.band)
    return f"below {high}" if claim.below else f"{low} to {high}"


def _pairs_table(weighed: dict[str, list[ClaimResult]]) -> Table:
    heads = ("setting", "claim", "pair", "claimed ratio", "measured ratio [95 %]",
             "measured / claimed [95 %]", "does it hold?")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            setting,
            evidence.claim.statement,
            name,
            formatting.digits(each.pair.claimed),
            formatting.interval(*each.ratio),
            formatting.interval(*each.over_claimed),
            each.verdict,
        )
        for setting, found in weighed.items()
        for evidence in found
        for name, each in zip(named(evidence), evidence.pairs, strict=True)
    ]
    return by_setting(heads, rows, {*heads[3:6]})
