"""Section on the claims of the lecture: one row per claim, with its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.claims.evidence import HOLDS, VERDICTS, ClaimResult, evaluate
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots import claims as plot
from convsweep.report.table import Table

Results = Mapping[str, Sequence[ClaimResult]]
"""The results of each setting that has pairs."""

TITLE = "Claims of the lecture"
_NOTE = (
    "A claim is about the ratio of two times of the same pass. It holds if all of its pairs do, "
    "corrected for the number of pairs."
)


def section(run: Run) -> Section | None:
    """Return the section; None if the run has no pair of any claim."""
    every = {setting: evaluate(run.within(setting)) for setting in run.settings}
    if not (results := {setting: found for setting, found in every.items() if found}):
        return None
    return Section.of_settings(
        TITLE,
        _verdict_counts([each for found in results.values() for each in found]),
        [("", _claims_table(results, run.baseline))],
        {setting: [plot.draw(found, run.baseline)] for setting, found in every.items()},
        _NOTE,
    )


def _verdict_counts(results: Sequence[ClaimResult]) -> str:
    """Return `Of 11 claims about cost: holds 3, holds in part 6, does not hold 2.`."""
    found = [each.verdict for each in results]
    counts = [f"{verdict} {found.count(verdict)}" for verdict in VERDICTS if verdict in found]
    return f"Of {formatting.count(len(results), 'claim')} about cost: {', '.join(counts)}."


def _claims_table(results: Results, baseline: str) -> Table:
    heads = ("setting", "claim", "in this code", "pairs that hold", "claimed ratio",
             "measured / claimed", "verdict")  # fmt: skip
    rows = [
        (setting, *_claim_row(each, baseline))
        for setting, found in results.items()
        for each in found
    ]
    return Table.by_setting(heads, rows, {*heads[3:6]})


def _claim_row(result: ClaimResult, baseline: str) -> tuple[str, ...]:
    claim, pairs = result.claim, result.pairs
    claimed = [each.pair.claimed for each in pairs]
    ends = dict.fromkeys((formatting.digits(min(claimed)), formatting.digits(max(claimed))))
    return (
        claim.statement,
        claim.code.format(baseline=baseline),
        f"{sum(each.verdict == HOLDS for each in pairs)} of {len(pairs)}",
        "below " * claim.below + " to ".join(ends),
        formatting.interval(*result.mean),
        result.verdict,
    )
