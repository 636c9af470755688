"""Section on the claims of the lecture: one row per claim, with its verdict."""

from collections import Counter
from collections.abc import Sequence

from convsweep import formatting
from convsweep.analysis.claims.evidence import (
    FAILS,
    HOLDS,
    HOLDS_IN_PART,
    UNDECIDED,
    VERDICTS,
    ClaimResult,
    evaluate,
)
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots import claims as plot
from convsweep.report.table import Table

TITLE = "Claims of the lecture"
_VERBS = {
    HOLDS: ("holds", "hold"),
    HOLDS_IN_PART: ("holds in part", "hold in part"),
    FAILS: ("does not hold", "do not hold"),
    UNDECIDED: ("is undecided", "are undecided"),
}
"""Verbs of one claim and of several."""
_NOTE = (
    "A claim is about the ratio of two times of the same pass. It holds if all of its pairs do, "
    "corrected for the number of pairs."
)


def section(run: Run) -> Section | None:
    """Return the section on the first setting that has pairs; None if none has."""
    every = {setting: evaluate(run.within(setting)) for setting in run.settings}
    setting, found = next(((name, own) for name, own in every.items() if own), ("", []))
    if not found:
        return None
    where = f"On {setting}, of" if len(every) > 1 else "Of"
    heads = ("claim", "in this code", "pairs that hold", "claimed ratio", "measured / claimed",
             "verdict")  # fmt: skip
    rows = [_claim_row(each, run.baseline) for each in found]
    table = Table(heads, rows, frozenset(heads[2:5]))
    pictures = {"": [plot.draw(found, run.baseline)]}
    return Section.of_settings(
        TITLE, f"{where} {_verdict_counts(found)}", [("", table)], pictures, _NOTE
    )


def _verdict_counts(results: Sequence[ClaimResult]) -> str:
    """Return `11 claims about cost, 3 hold, 6 hold in part and 2 do not hold.`."""
    counts = Counter(each.verdict for each in results)
    parts = [f"{counts[verdict]} {_VERBS[verdict][counts[verdict] > 1]}"
             for verdict in VERDICTS if counts[verdict]]  # fmt: skip
    return f"{formatting.count(len(results), 'claim')} about cost, {formatting.join(parts)}."


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
