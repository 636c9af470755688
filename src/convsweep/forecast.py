"""How long cases will take: a rough forecast before a sweep, a prediction from smaller cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from convsweep.backend import Backend
from convsweep.ceilings import PASSES
from convsweep.grid import Case
from convsweep.problem import Size
from convsweep.rows import CEILINGS
from convsweep.sampling import Effort, make_plan

START_S = 3.0
"""Until the first measuring process can start: most of it is the import of torch."""
PASS_START_S = 0.1
"""A measuring process until its first case."""
_REFERENCE_MACS_PER_S = 5e9
_FIXED_S = 0.01
_CALL_OVERHEAD_S = 20e-6
_CLOCK_OVERHEAD_S = 1e-7

Family = tuple[str, str, Size, str, str, str, int]
"""What cases share whose times grow alike with their MACs: all but channels and sizes."""


def nominal_call_s(case: Case, backend: Backend) -> float:
    """About how long one call takes, in seconds, at the nominal rate of a CPU core."""
    return _CALL_OVERHEAD_S + backend.macs(case.problem) / backend.nominal_macs_per_s


def nominal_s(case: Case, backend: Backend, effort: Effort | None) -> float:
    """About how long one case takes in one pass, in seconds, its truth being known."""
    call_s = nominal_call_s(case, backend)
    calls_s = 4 * call_s
    if effort:
        calls_s += (
            effort.warm_up_s + make_plan(call_s, _CLOCK_OVERHEAD_S, effort).all_calls * call_s
        )
    return _FIXED_S + calls_s


def truths_s(cases: Iterable[Case]) -> float:
    """About how long the truths of cases take, in seconds; each is computed once in a sweep."""
    problems = {(case.problem, case.weight_kind, case.dtype) for case in cases}
    return sum(problem.macs for problem, _, _ in problems) / _REFERENCE_MACS_PER_S


class Predictor:
    """Seconds of a call, predicted from the same backend's smaller problems in this run."""

    def __init__(self) -> None:
        self._seen: dict[Family, list[tuple[Case, float]]] = defaultdict(list)

    def learn(self, case: Case, call_s: float) -> None:
        """Note a measured call; calls below a millisecond are mostly overhead and tell nothing."""
        if call_s >= 1e-3:
            self._seen[family(case)].append((case, call_s))

    def at_least_s(self, case: Case) -> tuple[float, Case] | None:
        """Seconds of a call at the best rate that a smaller problem reached, and that problem."""
        smaller: Sequence[tuple[float, Case]] = [
            (call_s * case.problem.macs / other.problem.macs, other)
            for other, call_s in self._seen[family(case)]
            if other.problem.macs <= case.problem.macs
        ]
        return min(smaller, key=lambda found: found[0], default=None)


def family(case: Case) -> Family:
    """What tells the case's family from others."""
    problem = case.problem
    kind = "depthwise" if problem.is_depthwise else "dense" if problem.groups == 1 else "grouped"
    return (
        case.backend,
        kind,
        problem.kernel_size,
        case.device,
        case.dtype,
        case.memory_format,
        case.threads,
    )


def visits(case: Case, passes: int) -> int:
    """In how many of a sweep's passes the case is visited."""
    return min(passes, PASSES) if case.layer.workload == CEILINGS else passes


class Countdown:
    """The time left of a sweep: the time spent, scaled by the forecast of what is left."""

    def __init__(
        self,
        forecast_s: Mapping[Case, float],
        visits: Callable[[Case], int],
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self.done = 0
        self._forecast_s, self._now_s, self._started_s = forecast_s, now_s, now_s()
        self._total_s = sum(visits(case) * seconds for case, seconds in forecast_s.items())
        self._seen_s = 0.0

    def tick(self, case: Case) -> float:
        """One more case is done; about how many seconds are left."""
        self.done += 1
        self._seen_s += self._forecast_s[case]
        if self._seen_s == 0:
            return self._total_s
        spent_s = self._now_s() - self._started_s
        return max(0.0, spent_s * (self._total_s - self._seen_s) / self._seen_s)
