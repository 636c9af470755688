"""When a sweep has answered: which cases are worth another pass, and when the budget is spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf
from time import monotonic

import numpy as np

from convsweep.analysis.estimates import Array, bounds, estimate, stacked
from convsweep.analysis.verdicts import decided_early, passes_needed, verdicts
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.results.schema import ROOFLINE
from convsweep.results.store import MARGIN
from convsweep.sweep.request import Request
from convsweep.sweep.runner import PassResults
from convsweep.system.signals import Interrupts

FIRST_LOOK = 3
"""Passes before the first case may drop out: fewer don't tell how much passes differ."""
FIRST_PRECISE_LOOK = 8
"""The same with a precision: intervals that stop themselves early are too narrow."""

_OPEN = "undecided"


@dataclass
class RunningResults:
    """What is known so far of every case, pass by pass."""

    baseline: str
    median_s: dict[Case, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, pass_index: int, case: Case, outcome: Outcome) -> None:
        """One more outcome; what measures the machine answers nothing."""
        if case.layer.role == ROOFLINE:
            return
        if outcome.status == "ok" and outcome.median_s is not None:
            self.median_s[case][pass_index] = outcome.median_s

    @property
    def visits(self) -> int:
        """How many times were taken so far."""
        return sum(map(len, self.median_s.values()))

    def log_speedups(self) -> dict[Case, Array]:
        """For every case that is compared, the logarithms of its speedup, a value a pass."""
        compared = {}
        for case, times in self.median_s.items():
            base = self.median_s.get(case.on(self.baseline), {})
            both = sorted(times.keys() & base.keys())
            if case.backend != self.baseline and both:
                compared[case] = np.log([base[p] / times[p] for p in both])
        return compared

    def log_times(self) -> dict[Case, Array]:
        """For every case with a time, its logarithms, a value a pass."""
        return {case: np.log([*times.values()]) for case, times in self.median_s.items() if times}


class StoppingCriterion:
    """Decides pass by pass who goes on.

    With a precision, a case is done when the intervals of its time and its speedup are as narrow;
    without one, when its verdict holds whatever may come. Cases that are compared with nothing
    need their time as precisely as the verdict's margin.
    """

    def __init__(
        self, tally: RunningResults, precision: float | None, margin: float = MARGIN
    ) -> None:
        self._tally, self._precision, self._margin = tally, precision, margin

    def active_cases(self, pass_index: int) -> Collection[Case] | None:
        """The cases that are worth another pass; None: all."""
        if pass_index < (FIRST_LOOK if self._precision is None else FIRST_PRECISE_LOOK):
            return None
        times, speedups = self._tally.log_times(), self._tally.log_speedups()
        open_ = self._open_speedups(speedups, pass_index - FIRST_LOOK + 1)
        compared = {case.group for case in speedups}
        alone = {case: logs for case, logs in times.items() if case.group not in compared}
        open_ |= _wide(alone, self._precision or self._margin)
        groups = {case.group for case in open_}
        return {case for case in times if case.group in groups}

    def _open_speedups(self, speedups: dict[Case, Array], looks: int) -> set[Case]:
        if self._precision is not None:
            return _wide(speedups, self._precision)
        done: set[Case] = decided_early(speedups, self._margin, looks)
        return speedups.keys() - done


def _wide(logs: dict[Case, Array], precision: float) -> set[Case]:
    """The cases whose interval reaches further than `precision` from its middle."""
    wide = set()
    for case, values in logs.items():
        value, low, high = bounds(estimate(values))
        if not (high - value <= precision * value and value - low <= precision * value):
            wide.add(case)
    return wide


class Budget:
    """The time that a sweep may take."""

    def __init__(self, budget_s: float | None, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s, self._started_s = now_s, now_s()
        self._budget_s = inf if budget_s is None else budget_s

    @property
    def left_s(self) -> float:
        """Seconds left of it; infinite where there is no limit, below zero where it is spent."""
        return self._budget_s - (self._now_s() - self._started_s)


class SweepMonitor:
    """What is known of a run while it goes on, and why it ends."""

    def __init__(self, request: Request, interrupts: Interrupts, visits: PassResults) -> None:
        self.tally = RunningResults(request.baseline)
        self.budget = Budget(request.budget_s)
        self.ended = "all_passes"
        """What ended it: `all_passes`, `interrupted`, `budget` or `converged`."""
        self._interrupts, self._adaptive = interrupts, request.adaptive
        self._answered = StoppingCriterion(self.tally, request.precision, request.margin)
        for (pass_index, case), outcome in visits.items():
            self.tally.add(pass_index, case, outcome)

    def now(self) -> bool:
        """Whether the sweep is to end before the next problem."""
        if self._interrupts.received:
            self.ended = "interrupted"
        elif self.budget.left_s <= 0:
            self.ended = "budget"
        return self.ended != "all_passes"

    def active_cases(self, pass_index: int) -> Collection[Case] | None:
        """The cases that are worth another pass; None: all."""
        cases = self._answered.active_cases(pass_index) if self._adaptive else None
        if cases is not None and not cases:
            self.ended = "converged"
        return cases


@dataclass(frozen=True)
class OpenComparisons:
    """What a sweep leaves undecided."""

    cases: int
    early: int
    """How many of them have too few passes to tell how much longer they need."""
    on_the_margin: int
    """How many of them no time would settle."""
    more_s: float
    """About how much longer the others would need."""


def open_comparisons(
    tally: RunningResults, visit_s: float, margin: float = MARGIN
) -> OpenComparisons:
    """What has no verdict, and how much longer that would take at `visit_s` seconds a visit."""
    speedups = tally.log_speedups()
    told = verdicts(estimate(stacked(speedups.values())), margin) if speedups else ()
    open_ = [logs for logs, word in zip(speedups.values(), told, strict=True) if word == _OPEN]
    later = [logs for logs in open_ if len(logs) >= FIRST_LOOK]
    needed = [passes_needed(logs, margin) for logs in later]
    more = sum(max(1, n - len(logs)) for n, logs in zip(needed, later, strict=True) if n)
    # A visit to a case is one to its baseline too.
    return OpenComparisons(
        len(open_), len(open_) - len(later), needed.count(None), 2 * more * visit_s
    )
