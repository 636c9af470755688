"""How long cases will take: a rough forecast before a sweep, a prediction from smaller cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.backends.roofline_probes import PROBE_PASSES
from convsweep.measure.gate import min_calls, skipped_outcome
from convsweep.measure.sampling import MeasurementConfig, make_plan
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.problems.problem import Size
from convsweep.results.schema import ROOFLINE

START_S = 3.0
"""Until the first measuring process can start: most of it is the import of torch."""
PASS_START_S = 0.1
"""A measuring process until its first case."""
_REFERENCE_MACS_PER_S = 5e9
_FIXED_S = 0.01
_TRUSTED_SHARE = 0.05  # of a forecast, until so much of it has been seen
_COMPILING_SHARE = 0.1  # of the longest that it may take, where each problem is compiled
_CALL_OVERHEAD_S = 20e-6
_CLOCK_OVERHEAD_S = 1e-7

Family = tuple[str, str, Size, str, str, str, int]
"""What cases share whose times grow alike with their MACs: all but channels and sizes."""


def nominal_call_s(case: Case, backend: Backend) -> float:
    """About how long one call takes, in seconds, at the nominal rate of a CPU core."""
    return _CALL_OVERHEAD_S + backend.macs(case.problem) / backend.nominal_macs_per_s


def nominal_s(case: Case, backend: Backend, effort: MeasurementConfig | None) -> float:
    """About how long one case takes in one pass, in seconds, its truth being known."""
    call_s = nominal_call_s(case, backend)
    calls_s = 4 * call_s
    if effort:
        calls_s += (
            effort.warm_up_s + make_plan(call_s, _CLOCK_OVERHEAD_S, effort).all_calls * call_s
        )
    compiling_s = _COMPILING_SHARE * backend.compile_s if backend.compiles_per_problem else 0.0
    return _FIXED_S + compiling_s + calls_s


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
    return min(passes, PROBE_PASSES) if case.layer.role == ROOFLINE else passes


def forecast_s(
    cases: Iterable[Case], backends: Mapping[str, Backend], settings: Settings, passes: int
) -> float:
    """About how long a sweep takes on one core of a CPU, in seconds, from nominal rates.

    Of the cases that can't end in time, the smallest of a family is cut off and predicts the rest.
    """
    cases = list(cases)
    processes = passes * len({case.threads for case in cases})
    cut_off = {family(c) for c in cases if not _ends_in_time(c, backends[c.backend], settings)}
    return (
        START_S
        + truths_s(case for case in cases if not skipped_outcome(case, backends[case.backend]))
        + processes * PASS_START_S
        + sum(visits(case, passes) * case_s(case, backends, settings) for case in cases)
        + len(cut_off) * settings.case_timeout_s
    )


def compiling_s(cases: Iterable[Case], backends: Mapping[str, Backend]) -> float:
    """How much longer a sweep may take where nothing that is compiled once has been yet."""
    names = {case.backend for case in cases if not skipped_outcome(case, backends[case.backend])}
    compiled = (backends[name] for name in names)
    return sum(backend.compile_s for backend in compiled if not backend.compiles_per_problem)


def case_s(case: Case, backends: Mapping[str, Backend], settings: Settings) -> float:
    """About how long a visit to the case takes; nothing where it has no chance."""
    backend = backends[case.backend]
    if skipped_outcome(case, backend) or not _ends_in_time(case, backend, settings):
        return 0.0
    return nominal_s(case, backend, settings.effort)


def _ends_in_time(case: Case, backend: Backend, settings: Settings) -> bool:
    if skipped_outcome(case, backend):
        return True
    needed = min_calls(settings.effort)
    return needed * nominal_call_s(case, backend) <= settings.case_timeout_s


class Countdown:
    """The time left of a sweep: the time spent, scaled by the forecast of what is left.

    The first few cases, with all that is loaded for them, tell little: until a twentieth of the
    forecast has been seen, the rest of that is taken to go as it was forecast.
    """

    def __init__(
        self,
        forecast_s: Mapping[Case, float],
        visits: Mapping[Case, int],
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self.done, self.total = 0, sum(visits.values())
        self._forecast_s, self._now_s, self._started_s = forecast_s, now_s, now_s()
        self._total_s = sum(visits[case] * seconds for case, seconds in forecast_s.items())
        self.left_s = self._total_s
        """About how many seconds are left."""
        self._seen_s = self._once_s = 0.0

    def tick(self, case: Case, once_s: float = 0.0) -> None:
        """One more case is done; `once_s` of its seconds no other one will take."""
        self.done += 1
        self._seen_s += self._forecast_s[case]
        self._once_s += once_s
        if self._seen_s:
            spent_s = self._now_s() - self._started_s - self._once_s
            unseen_s = max(0.0, _TRUSTED_SHARE * self._total_s - self._seen_s)
            pace = (spent_s + unseen_s) / (self._seen_s + unseen_s)
            self.left_s = max(0.0, pace * (self._total_s - self._seen_s))
