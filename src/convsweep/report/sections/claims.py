"""Section on the claims of the lecture: one row per claim, with its verdict."""

from __future__ import annotations

from collections.abc import Sequence

from convsweep import formatting
from convsweep.analysis.claims.evidence import HOLDS, VERDICTS, ClaimResult, evaluate
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots import claims as plot
from convsweep.report.table import Table

TITLE = "Claims of the lecture"
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
    table = _claims_table(found, run.baseline)
    pictures = {"": [plot.draw(found, run.baseline)]}
    return Section.of_settings(
        TITLE, f"{where} {_verdict_counts(found)}", [("", table)], pictures, _NOTE
    )


def _verdict_counts(results: Sequence[ClaimResult]) -> str:
    """Return `11 claims about cost: holds 3, holds in part 6, does not hold 2.`."""
    found = [each.verdict for each in results]
    counts = [f"{verdict} {found.count(verdict)}" for verdict in VERDICTS if verdict in found]
    return f"{formatting.count(len(results), 'claim')} about cost: {', '.join(counts)}."


def _claims_table(results: Sequence[ClaimResult], baseline: str) -> Table:
    heads = ("claim", "in this code", "pairs that hold", "claimed ratio", "measured / claimed",
             "verdict")  # fmt: skip
    return Table(heads, [_claim_row(each, baseline) for each in results], frozenset(heads[2:5]))


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
