"""End of a sweep: cases that need another pass, the time budget, and interrupts."""

from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan
from time import monotonic

import numpy as np

from convsweep.analysis.calm_passes import only_calm
from convsweep.analysis.estimates import Array, bounds, estimate, stacked
from convsweep.analysis.verdicts import decided_early, passes_needed, verdicts
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.results.schema import CASE, MARGIN, ROOFLINE
from convsweep.sweep.request import Request
from convsweep.system.signals import Interrupts

FIRST_LOOK = 3
"""Passes before the first case may end: fewer do not show the variance between passes."""
FIRST_PRECISE_LOOK = 8
"""The same with a precision: intervals that stop themselves early are too narrow."""

_RESULTS_S, _RESULT_S, _RESULTS_SHARE = 0.5, 1e-4, 0.1
"""Part of a budget that is kept for summary and tables: seconds, more per case, largest share."""

PassResults = Mapping[tuple[int, Case], Outcome]  # outcome per pass and case


@dataclass
class RunningResults:
    """Times so far, per case and pass."""

    baseline: str
    time_s: "dict[Case, array[float]]" = field(default_factory=dict)  # NaN: a pass without a time

    def add(self, pass_index: int, case: Case, outcome: Outcome) -> None:
        """Add one outcome; ceilings are left out, and so are all times of a case that fails."""
        if outcome.status != "ok":
            self.time_s.pop(case, None)
        elif case.layer.role != ROOFLINE and outcome.time_s is not None:
            times = self.time_s.setdefault(case, array("d"))
            times.extend([nan] * (pass_index + 1 - len(times)))
            times[pass_index] = outcome.time_s

    @property
    def measurements(self) -> int:
        """Number of times."""
        return sum(not isnan(time) for times in self.time_s.values() for time in times)

    def log_speedups(self, log_s: Mapping[Case, Array] | None = None) -> dict[Case, Array]:
        """Return the logarithms of the speedup per compared case, one value per calm pass.

        `log_s` is the result of `log_times`, if it is there.
        """
        compared, log_s = {}, self.log_times() if log_s is None else log_s
        for case, times in log_s.items():
            speedups = log_s.get(case.on(self.baseline), np.nan) - times
            if case.backend != self.baseline and not np.isnan(speedups).all():
                compared[case] = speedups[~np.isnan(speedups)]
        return compared

    def log_times(self) -> dict[Case, Array]:
        """Return the logarithms of the times per case and pass; NaN if unknown or disturbed."""
        if not self.time_s:
            return {}
        log_s = np.log(stacked(self.time_s.values()))
        siblings = [case.siblings for case in self.time_s]
        numbers = {own: n for n, own in enumerate(dict.fromkeys(siblings))}
        problems = np.array([numbers[own] for own in siblings])
        return dict(zip(self.time_s, only_calm(log_s, problems), strict=True))


def active_cases(
    results: RunningResults, pass_index: int, precision: float | None, margin: float = MARGIN
) -> Collection[Case] | None:
    """Return the cases that need another pass; None: all.

    With a precision, a case ends when the intervals of its time and its speedup are narrow enough.
    Without one, it ends when its verdict cannot change any more. A case without a baseline ends
    when the interval of its time is within the margin.
    """
    if pass_index < (FIRST_LOOK if precision is None else FIRST_PRECISE_LOOK):
        return None
    times = results.log_times()
    speedups = results.log_speedups(times)
    if precision is None:
        active = speedups.keys() - decided_early(speedups, margin, pass_index - FIRST_LOOK + 1)
    else:
        active = _wide(speedups, precision)
    compared = {case.group for case in speedups}
    alone = {case: logs for case, logs in times.items() if case.group not in compared}
    open_siblings = {case.siblings for case in active | _wide(alone, precision or margin)}
    return {case for case in times if case.siblings in open_siblings}


def _wide(logs: dict[Case, Array], precision: float) -> set[Case]:
    """Return the cases whose interval is wider than +/- `precision`, relative to the estimate."""
    wide = set()
    for case, values in logs.items():
        value, low, high = bounds(estimate(values))
        if not (high - value <= precision * value and value - low <= precision * value):
            wide.add(case)
    return wide


class Budget:
    """Time limit of a sweep, counted from the start of its command, less the time for results."""

    def __init__(
        self,
        budget_s: float | None,
        started_s: float,
        cases: int = 0,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._now_s, self._ends_s = now_s, inf
        if budget_s is not None:
            results_s = min(_RESULTS_S + _RESULT_S * cases, _RESULTS_SHARE * budget_s)
            self._ends_s = started_s + budget_s - results_s

    @property
    def left_s(self) -> float:
        """Seconds left: infinite without a limit, negative after its end."""
        return self._ends_s - self._now_s()


class SweepMonitor:
    """Results, budget and end reason of a sweep in progress."""

    def __init__(
        self,
        request: Request,
        interrupts: Interrupts | None = None,
        known: PassResults | None = None,
    ) -> None:
        self.results = RunningResults(request.baseline)
        cases = len(request.every_case)
        self.budget = Budget(request.budget_s, request.started_s, cases)
        self.end_reason = "all_passes"
        """`all_passes`, `converged`, `budget`, `interrupted` or `nodes_lost`."""
        self._request, self._interrupts = request, interrupts or Interrupts()
        for (pass_index, case), outcome in (known or {}).items():
            self.results.add(pass_index, case, outcome)

    def should_stop(self) -> bool:
        """Return whether the sweep ends before the next group."""
        if self._interrupts.received:
            self.end_reason = "interrupted"
        elif self.budget.left_s <= 0:
            self.end_reason = "budget"
        return self.end_reason != "all_passes"

    def active_cases(self, pass_index: int, *, auxiliary: bool = True) -> Collection[Case] | None:
        """Return the cases that need another pass, `auxiliary` ones too; None: all."""
        request = self._request
        if not request.adaptive:
            return None
        cases = active_cases(self.results, pass_index, request.precision, request.margin)
        if cases is not None and not auxiliary:
            cases = {case for case in cases if case.layer.role == CASE}
        if cases is not None and not cases:
            self.end_reason = "converged"
        return cases

    def open_comparisons(self, wall_s: float) -> "OpenComparisons | None":
        """Return the undecided comparisons after `wall_s` seconds; None without a criterion."""
        if not self._request.adaptive:
            return None
        case_s = wall_s / max(1, self.results.measurements)
        return open_comparisons(self.results, case_s, self._request.margin)


@dataclass(frozen=True)
class OpenComparisons:
    """Undecided comparisons of a sweep."""

    cases: int
    early: int  # number of those with too few passes to predict how many more they need
    on_the_margin: int  # number of those that more passes cannot decide
    more_s: float  # predicted seconds to decide the others


def open_comparisons(
    results: RunningResults, case_s: float, margin: float = MARGIN
) -> OpenComparisons | None:
    """Return the undecided comparisons, None without any comparison.

    `case_s` is the time of one measurement.
    """
    if not (speedups := results.log_speedups()):
        return None
    found = verdicts(estimate(stacked(speedups.values())), margin)
    undecided = [
        logs
        for logs, verdict in zip(speedups.values(), found, strict=True)
        if verdict == "undecided"
    ]
    later = [logs for logs in undecided if len(logs) >= FIRST_LOOK]
    needed = [passes_needed(logs, margin) for logs in later]
    more = sum(max(1, n - len(logs)) for n, logs in zip(needed, later, strict=True) if n)
    # Another pass measures the baseline, too.
    return OpenComparisons(
        len(undecided), len(undecided) - len(later), needed.count(None), 2 * more * case_s
    )
