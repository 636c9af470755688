"""Verdicts on the claims: measured over claimed time ratio, with intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsweep.analysis.claims.claims import CLAIMS, Claim, Pair, Timing
from convsweep.analysis.estimates import Array, Interval, bounds, equal_mean, estimate, interval
from convsweep.analysis.run import Run
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.problems.problem import ConvProblem

HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"
VERDICTS = (HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED)


class PairResult(NamedTuple):
    """One measured pair."""

    pair: Pair
    ratio: Interval  # seconds of the second / seconds of the first
    over_claimed: Interval  # the measured ratio over the claimed one
    verdict: str


class ClaimResult(NamedTuple):
    """All pairs of one claim in one setting."""

    claim: Claim
    pairs: Sequence[PairResult]
    mean: Interval  # geometric mean over pairs of measured / claimed

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`. A claim holds if all its pairs do, in part if some fail."""
        found = {each.verdict for each in self.pairs}
        if FAILS in found:
            return HOLDS_IN_PART if HOLDS in found else FAILS
        return HOLDS if found == {HOLDS} else UNDECIDED


def evaluate(run: Run) -> list[ClaimResult]:
    """Return the result of every claim that has pairs in one setting.

    Verdicts are corrected for the pairs of all claims.

    A pair's interval is that of the ratio within each pass, over passes. Its verdict is tested
    against both ends of the claim's band (Schuirmann 1987).
    """
    cases = run.cases[run.cases["status"] == "ok"].drop_duplicates(["problem", "backend"])
    timings = map(Timing, map(ConvProblem.parse, cases["problem"]), cases["backend"])
    log_s = dict(zip(timings, run.log_s(cases), strict=True))
    pairs = {claim: _over_claimed(claim, log_s, run.baseline) for claim in CLAIMS}
    logs = {claim: np.stack([*own.values()]) for claim, own in pairs.items() if own}
    verdicts = _verdicts(logs) if logs else []
    return [
        _result(claim, [*pairs[claim]], rows, own)
        for (claim, rows), own in zip(logs.items(), verdicts, strict=True)
    ]


def _over_claimed(claim: Claim, log_s: Mapping[Timing, Array], baseline: str) -> dict[Pair, Array]:
    """Return the logarithms of measured / claimed of the pairs that share a pass."""
    return {
        pair: logs - np.log(pair.claimed)
        for pair in claim.find_pairs(log_s, baseline)
        if not np.isnan(logs := log_s[pair.second] - log_s[pair.first]).all()
    }


def _verdicts(logs: Mapping[Claim, Array]) -> list[NDArray[np.str_]]:
    """Return the verdicts on the pairs of each claim, at a false discovery rate of 5 %."""
    p = np.concatenate(
        [p_values(estimate(rows), claim.tolerance) for claim, rows in logs.items()], axis=1
    )
    sizes = [*map(len, logs.values())]
    wanted = np.repeat([DIRECTIONS.index("slower" if c.below else "same") for c in logs], sizes)
    supported = np.where(p.argmin(axis=0) == wanted, HOLDS, FAILS)
    found = np.where(reject_at_fdr(p.min(axis=0)), supported, UNDECIDED)
    return np.split(found, np.cumsum(sizes)[:-1])


def _result(
    claim: Claim, pairs: Sequence[Pair], logs: Array, verdicts: NDArray[np.str_]
) -> ClaimResult:
    results = [
        PairResult(
            pair,
            Interval(*map(float, pair.claimed * ends)),
            Interval(*map(float, ends)),
            str(verdict),
        )
        for pair, ends, verdict in zip(pairs, bounds(estimate(logs)).T, verdicts, strict=True)
    ]
    return ClaimResult(claim, results, interval(equal_mean(logs)))
