"""What a run's times say of each claim: measured over claimed, with interval and verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convsweep.analysis.claims.claims import CLAIMS, Claim
from convsweep.analysis.claims.pairs import Pair, Timing
from convsweep.analysis.estimates import (
    Array,
    Interval,
    bounds,
    estimate,
    interval,
    weighted_mean,
)
from convsweep.analysis.run import Run
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.formatting import NOT_MEASURED
from convsweep.problems.problem import ConvProblem

HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"
VERDICTS = (HOLDS, HOLDS_IN_PART, FAILS, UNDECIDED, NOT_MEASURED)


class PairResult(NamedTuple):
    """One pair as measured."""

    pair: Pair
    ratio: Interval
    """Seconds of the second / seconds of the first."""
    over_claimed: Interval
    """That over the claimed ratio: 1 is as the lecture says."""
    verdict: str


class ClaimResult(NamedTuple):
    """All that one setting of a run says of one claim."""

    claim: Claim
    pairs: Sequence[PairResult]
    mean: Interval
    """The geometric mean over pairs of measured / claimed."""

    @property
    def verdict(self) -> str:
        """A claim is about every pair: it holds in part where some hold and some do not."""
        found = {each.verdict for each in self.pairs}
        if not found:
            return NOT_MEASURED
        if FAILS in found:
            return HOLDS_IN_PART if HOLDS in found else FAILS
        return HOLDS if found == {HOLDS} else UNDECIDED

    def with_verdict(self, verdict: str) -> list[PairResult]:
        """The pairs of one verdict."""
        return [each for each in self.pairs if each.verdict == verdict]


def evaluate(run: Run) -> list[ClaimResult]:
    """The evidence on every claim, in one setting; verdicts corrected for all their pairs.

    A pair's interval is that of the ratio within each pass, over passes. Its verdict is tested
    against both ends of the claim's band (Schuirmann 1987).
    """
    log_s = _log_times(run)
    found = [(claim, _in_one_pass(claim.pairs(log_s, run.baseline), log_s)) for claim in CLAIMS]
    logs = [_over_claimed(pairs, log_s, run.pass_times.shape[1]) for _, pairs in found]
    verdicts = _verdicts(CLAIMS, logs)
    measured = zip(found, logs, verdicts, strict=True)
    return [_evidence(claim, pairs, rows, told) for (claim, pairs), rows, told in measured]


def _log_times(run: Run) -> Mapping[Timing, Array]:
    """Of everything that was timed, the logarithms of its seconds, one a pass."""
    cases = run.cases[run.cases["status"] == "ok"].drop_duplicates(["problem", "backend"])
    keys = pd.MultiIndex.from_frame(cases[["setting", "label", "backend"]])
    logs = np.log(run.pass_times.loc[keys].to_numpy(dtype="float64"))
    timings = map(Timing, map(ConvProblem.parse, cases["problem"]), cases["backend"])
    return dict(zip(timings, logs, strict=True))


def _in_one_pass(pairs: Iterable[Pair], log_s: Mapping[Timing, Array]) -> list[Pair]:
    """The pairs both of which some pass has timed."""
    return [p for p in pairs if not np.isnan(log_s[p.second] - log_s[p.first]).all()]


def _over_claimed(pairs: Sequence[Pair], log_s: Mapping[Timing, Array], passes: int) -> Array:
    """(pairs, passes): the logarithm of measured / claimed, both times of one pass."""
    rows = [log_s[pair.second] - log_s[pair.first] - np.log(pair.claimed) for pair in pairs]
    return np.array(rows, dtype="float64").reshape(len(pairs), passes)


def _verdicts(claims: Sequence[Claim], logs: Sequence[Array]) -> list[NDArray[np.str_]]:
    """Of each claim the verdict on every pair; 5 % of those decided may be false."""
    p = np.concatenate(
        [p_values(estimate(rows), c.tolerance) for c, rows in zip(claims, logs, strict=True)],
        axis=1,
    )
    sizes = list(map(len, logs))
    wanted = np.repeat([DIRECTIONS.index("slower" if c.below else "same") for c in claims], sizes)
    as_told = np.where(p.argmin(axis=0) == wanted, HOLDS, FAILS)
    found = np.where(reject_at_fdr(p.min(axis=0)), as_told, UNDECIDED)
    return np.split(found, np.cumsum(sizes)[:-1])


def _evidence(
    claim: Claim, pairs: Sequence[Pair], logs: Array, verdicts: NDArray[np.str_]
) -> ClaimResult:
    if not pairs:
        return ClaimResult(claim, (), Interval(np.nan, np.nan, np.nan))
    results = []
    for pair, ends, verdict in zip(pairs, bounds(estimate(logs)).T, verdicts, strict=True):
        results.append(
            PairResult(
                pair,
                Interval(*map(float, pair.claimed * ends)),
                Interval(*map(float, ends)),
                str(verdict),
            )
        )
    mean = interval(weighted_mean(logs, np.full(len(pairs), 1 / len(pairs))))
    return ClaimResult(claim, results, mean)
