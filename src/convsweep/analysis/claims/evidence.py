"""Verdicts on the claims: measured over claimed time ratio, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsweep.analysis.claims.claims import CLAIMS, Claim
from convsweep.analysis.claims.pairs import Pair, Timing
from convsweep.analysis.estimates import (
    UNKNOWN,
    Array,
    Interval,
    bounds,
    equal_mean,
    estimate,
    interval,
)
from convsweep.analysis.run import Run
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.formatting import NOT_MEASURED
from convsweep.problems.problem import ConvProblem

HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"
VERDICTS = (HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED, NOT_MEASURED)


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
        if not found:
            return NOT_MEASURED
        if FAILS in found:
            return HOLDS_IN_PART if HOLDS in found else FAILS
        return HOLDS if found == {HOLDS} else UNDECIDED

    def with_verdict(self, verdict: str) -> list[PairResult]:
        """Return the pairs of one verdict."""
        return [each for each in self.pairs if each.verdict == verdict]


def evaluate(run: Run) -> list[ClaimResult]:
    """Return the result of every claim in one setting; verdicts are corrected for all pairs.

    A pair's interval is that of the ratio within each pass, over passes. Its verdict is tested
    against both ends of the claim's band (Schuirmann 1987).
    """
    log_s = _log_times(run)
    pairs = [_pairs(claim, log_s, run.baseline) for claim in CLAIMS]
    logs = [_over_claimed(own, log_s, run.pass_times.shape[1]) for own in pairs]
    return [
        _result(claim, own, rows, verdicts)
        for claim, own, rows, verdicts in zip(CLAIMS, pairs, logs, _verdicts(logs), strict=True)
    ]


def _log_times(run: Run) -> Mapping[Timing, Array]:
    """Return the logarithms of the seconds of every timing, one per pass."""
    cases = run.cases[run.cases["status"] == "ok"].drop_duplicates(["problem", "backend"])
    timings = map(Timing, map(ConvProblem.parse, cases["problem"]), cases["backend"])
    return dict(zip(timings, run.log_s(cases), strict=True))


def _pairs(claim: Claim, log_s: Mapping[Timing, Array], baseline: str) -> list[Pair]:
    """Return the pairs of a claim that were both timed in some pass."""
    found = claim.find_pairs(log_s, baseline)
    return [pair for pair in found if not np.isnan(log_s[pair.second] - log_s[pair.first]).all()]


def _over_claimed(pairs: Sequence[Pair], log_s: Mapping[Timing, Array], passes: int) -> Array:
    """Return the logarithms of measured / claimed, (pairs, passes)."""
    rows = [log_s[pair.second] - log_s[pair.first] - np.log(pair.claimed) for pair in pairs]
    return np.array(rows, dtype="float64").reshape(len(pairs), passes)


def _verdicts(logs: Sequence[Array]) -> list[NDArray[np.str_]]:
    """Return the verdicts on the pairs of each claim, at a false discovery rate of 5 %."""
    p = np.concatenate(
        [p_values(estimate(rows), c.tolerance) for c, rows in zip(CLAIMS, logs, strict=True)],
        axis=1,
    )
    sizes = list(map(len, logs))
    wanted = np.repeat([DIRECTIONS.index("slower" if c.below else "same") for c in CLAIMS], sizes)
    supported = np.where(p.argmin(axis=0) == wanted, HOLDS, FAILS)
    found = np.where(reject_at_fdr(p.min(axis=0)), supported, UNDECIDED)
    return np.split(found, np.cumsum(sizes)[:-1])


def _result(
    claim: Claim, pairs: Sequence[Pair], logs: Array, verdicts: NDArray[np.str_]
) -> ClaimResult:
    if not pairs:
        return ClaimResult(claim, (), UNKNOWN)
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
