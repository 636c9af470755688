"""Number of blocks per pass, chosen from the passes so far of a run with a budget."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from convsweep.analysis.estimates import CONFIDENCE, Array
from convsweep.problems.case import Case
from convsweep.results.schema import MARGIN

_LEAST_BLOCKS, _MOST_BLOCKS = 2, 64
_USUAL_RATIO = 3  # of a speedup's variance between blocks to that between passes
_TOLERANCE = 1.1  # of an interval's width: more samples show the distribution better
TUNED_AFTER = (2, 4, 8, 16)
"""Passes of a run with a budget after which the number of blocks is chosen."""


class Tuning:
    """Choice of the blocks per pass that promise the narrowest intervals at the end of a budget.

    More blocks reduce the variance within a pass, and leave time for fewer passes.
    """

    def __init__(self) -> None:
        self._logs: dict[Case, list[Array]] = defaultdict(list)

    def add(self, case: Case, blocks: Sequence[Sequence[float]]) -> None:
        """Add the samples of one pass; of many passes the first ones."""
        if len(self._logs[case]) < TUNED_AFTER[-1]:
            self._logs[case].append(np.log([sum(block) / len(block) for block in blocks]))

    def blocks(self, baseline: str, fixed_s: float, timing_s: float, left_s: float) -> int | None:
        """Return the number of blocks; None if no speedup has two passes, or the last has no block.

        `timing_s` and `fixed_s` are the seconds of the last pass for blocks and for all else. The
        variance within passes of a single block is the usual share.
        """
        of_passes, within, shares = [], [], []
        done = max(map(len, self._logs.values()), default=0)
        # A case that has ended needs no more blocks, however much it varies.
        measured = {case: own for case, own in self._logs.items() if len(own) == done > 1}
        for case, own in measured.items():
            if case.backend == baseline or not (base := measured.get(case.on(baseline))):
                continue
            ratios = [y[: len(x)] - x[: len(y)] for x, y in zip(own, base, strict=True)]
            of_passes.append(np.var([ratio.mean() for ratio in ratios], ddof=1))
            within += [np.var(ratio, ddof=1) for ratio in ratios if len(ratio) > 1]
            shares.append(np.mean([1 / len(ratio) for ratio in ratios]))
        if not of_passes or not timing_s:
            return None
        total, share = float(np.mean(of_passes)), float(np.mean(shares))
        w = float(np.mean(within)) if within else total / (share + 1 / _USUAL_RATIO)
        b = (w / _USUAL_RATIO + (done - 1) * max(0.0, total - w * share)) / done
        block_s = timing_s / max(len(own[-1]) for own in measured.values())
        tuned_s = (done - TUNED_AFTER[0]) * (fixed_s + timing_s) + left_s

        def half_width(blocks: int) -> float:
            passes = TUNED_AFTER[0] + tuned_s / (fixed_s + blocks * block_s)
            t = stdtrit(passes / 2, (1 + CONFIDENCE) / 2)  # about the degrees of a trimmed mean
            half = float(t) * math.sqrt((b + w / blocks) / passes)
            return math.hypot(half, MARGIN)  # runs drift by more: narrower ones are worth little

        widths = {blocks: half_width(blocks) for blocks in range(_LEAST_BLOCKS, _MOST_BLOCKS + 1)}
        narrow = _TOLERANCE * min(widths.values())
        return max(blocks for blocks, width in widths.items() if width <= narrow)
