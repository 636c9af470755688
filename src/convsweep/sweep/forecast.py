"""Run-time forecast from nominal rates, and predictions from smaller cases."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.backends.roofline_probes import PROBE_PASSES
from convsweep.measure.outcome import Outcome, skipped_outcome
from convsweep.measure.sampling import make_plan, min_calls
from convsweep.measure.settings import Settings
from convsweep.problems.case import FORWARD, Case
from convsweep.problems.problem import Size
from convsweep.results.schema import ROOFLINE

START_S = 2.0  # until the first worker process can start; most of it is the import of torch
PASS_START_S = 0.1  # from the start of a worker process to its first case
_REFERENCE_MACS_PER_S = 5e9
_FIXED_S, _FIRST_S = 0.01, 0.01  # per case in every pass, in the first pass
_TRUSTED_SHARE = 0.05  # of the forecast, which has to pass before the pace is trusted
_COMPILING_SHARE = 0.02  # of the limit to compile, per problem in the first pass
_RECOMPILING_S = 0.2  # per problem in every pass: from a cache, and the import of the compiler
_CALL_OVERHEAD_S = 20e-6
_CLOCK_OVERHEAD_S = 1e-7
_MOST_FIXED_S = 1e-3  # per call, whatever its MACs
_MOST_WAIT_S = 0.1  # the same of several threads, which wait for each other on a loaded machine
_FAR_BELOW = 20  # times the forecast of a case's calls: no load makes them that slow

CaseFamily = tuple[str, str, Size, str, str, str, int, str, str]
"""Everything but channels and sizes; times within a family grow with the MACs."""


def nominal_call_s(case: Case, backend: Backend) -> float:
    """Return the approximate seconds of one call, at the nominal rate of a CPU core."""
    macs = case.products * backend.macs(case.problem)
    return _CALL_OVERHEAD_S + macs / max(backend.nominal_macs_per_s, 1.0)


def references_s(cases: Iterable[Case]) -> float:
    """Return the approximate seconds of the references, each computed once per sweep."""
    return sum({case.data: _reference_s(case) for case in cases}.values())


def _reference_s(case: Case) -> float:
    """Return the approximate seconds of a reference: three products if it has gradients."""
    products = 1 if case.direction == FORWARD else 3
    return products * case.problem.macs / _REFERENCE_MACS_PER_S


def first_s(cases: Collection[Case], backends: Mapping[str, Backend]) -> dict[Case, float]:
    """Return the approximate seconds that each case takes longer in the first pass.

    These are its share of the reference, the checks of the first pass, and compiling.
    """
    groups = Counter(case.group for case in cases)
    return {
        case: _FIRST_S
        + _reference_s(case) / groups[case.group]
        + first_compile_s(backends[case.backend])
        for case in cases
    }


def first_compile_s(backend: Backend) -> float:
    """Return the approximate seconds to compile one problem for the first time."""
    return _COMPILING_SHARE * backend.compile_s if backend.compiles_per_problem else 0.0


class Predictor:
    """Prediction of call times from smaller problems of the same backend in this run."""

    def __init__(self) -> None:
        self._calls_s: dict[CaseFamily, dict[Case, float]] = defaultdict(dict)
        self._timed_out: set[CaseFamily] = set()

    def observe(self, case: Case, outcome: Outcome) -> None:
        """Add the time of a call, if it is known, and whether the case has timed out."""
        if outcome.status == "timeout":
            self._timed_out.add(family(case))
        call_s = outcome.call_s if outcome.median_s is None else outcome.median_s
        fixed_s = _MOST_FIXED_S if case.threads == 1 else _MOST_WAIT_S
        if call_s is not None and call_s > fixed_s:
            known = self._calls_s[family(case)]
            known[case] = min(call_s - fixed_s, known.get(case, inf))

    def min_call_s(self, case: Case) -> tuple[float, Case] | None:
        """Return seconds of a call at the best rate of a smaller problem, and that problem."""
        smaller = (
            (call_s * case.problem.macs / other.problem.macs, other)
            for other, call_s in self._calls_s[family(case)].items()
            if other.problem.macs <= case.problem.macs
        )
        return min(smaller, key=lambda prediction: prediction[0], default=None)

    def timeout(self, case: Case, settings: Settings) -> Outcome | None:
        """Return `timeout` if the case exceeds its limit at the best rate of smaller cases."""
        found, needed = self.min_call_s(case), min_calls(settings.effort)
        if found is None or needed * found[0] <= settings.case_timeout_s:
            return None
        call_s, smaller = found
        return Outcome(
            "timeout",
            f"predicted from {smaller.problem.label}: {needed} calls of at least {call_s:.3g} s "
            f"each exceed the limit of {settings.case_timeout_s:g} s",
        )

    def is_stall(
        self, case: Case, backend: Backend, settings: Settings, measured: Collection[Case]
    ) -> bool:
        """Return whether a timeout of the case is due to the machine, not to the backend.

        Either the case is among the `measured` ones. Or its calls are far shorter than the limit,
        by smaller cases or nominally, nothing is left to compile, and its family has no timeout.
        """
        if case in measured:
            return True
        compiled = any(one.backend == case.backend for one in measured)
        compiles = backend.compiles_per_problem or (backend.compile_s and not compiled)
        if compiles or family(case) in self._timed_out:
            return False
        found = self.min_call_s(case)
        call_s = found[0] if found else nominal_call_s(case, backend)
        return _FAR_BELOW * min_calls(settings.effort) * call_s <= settings.case_timeout_s


def family(case: Case) -> CaseFamily:
    """Return the family of a case."""
    problem = case.problem
    kind = "depthwise" if problem.is_depthwise else "dense" if problem.groups == 1 else "grouped"
    kind = "transposed" if problem.transposed else kind
    how = (case.device, case.dtype, case.memory_format, case.threads, case.direction, case.block)
    return case.backend, kind, problem.kernel_size, *how


def is_probe(case: Case) -> bool:
    """Return whether the case is part of the machine's roofline."""
    return case.layer.role == ROOFLINE


def pass_count(case: Case, passes: int) -> int:
    """Return the number of passes that measure the case."""
    return min(passes, PROBE_PASSES) if is_probe(case) else passes


def forecast_s(
    cases: Iterable[Case], backends: Mapping[str, Backend], settings: Settings, passes: int
) -> float:
    """Return the approximate seconds of a sweep on one CPU core, without skipped cases.

    Of the cases over the time limit, the smallest of each family is cut off, and predicts the
    rest.
    """
    cases = list(cases)
    processes = passes * len({case.threads for case in cases})
    cut_off = {family(c) for c in cases if not _ends_in_time(c, backends[c.backend], settings)}
    return (
        START_S
        + references_s(cases)
        + sum(first_compile_s(backends[case.backend]) for case in cases)
        + processes * PASS_START_S
        + sum(pass_count(case, passes) * case_s(case, backends, settings) for case in cases)
        + len(cut_off) * settings.case_timeout_s
    )


def compiling_s(cases: Iterable[Case], backends: Mapping[str, Backend]) -> float:
    """Return the seconds of all one-time compilations, for cases without skipped ones."""
    compiled = (backends[name] for name in {case.backend for case in cases})
    return sum(backend.compile_s for backend in compiled if not backend.compiles_per_problem)


def case_s(case: Case, backends: Mapping[str, Backend], settings: Settings) -> float:
    """Return the approximate seconds of a case in one pass; 0 if it exceeds its time limit."""
    backend, effort = backends[case.backend], settings.effort
    if not _ends_in_time(case, backend, settings):
        return 0.0
    call_s = nominal_call_s(case, backend)
    calls_s = 4 * call_s
    if effort:
        plan = make_plan(call_s, _CLOCK_OVERHEAD_S, effort)
        calls_s += effort.warm_up_s + plan.all_calls * call_s
    return _FIXED_S + _RECOMPILING_S * backend.compiles_per_problem + calls_s


def skipped_cases(cases: Iterable[Case], backends: Mapping[str, Backend]) -> dict[Case, Outcome]:
    """Return the cases that their backend cannot run here, each with the reason."""
    return {
        case: outcome
        for case in cases
        if (outcome := skipped_outcome(case, backends[case.backend]))
    }


def _ends_in_time(case: Case, backend: Backend, settings: Settings) -> bool:
    return min_calls(settings.effort) * nominal_call_s(case, backend) <= settings.case_timeout_s


@dataclass
class _Pace:
    """Seconds spent on some cases against those forecast."""

    total_s: float
    done_s: float = 0.0
    spent_s: float = 0.0
    before: tuple[float, float] = (0.0, 0.0)  # `done_s` and `spent_s` at the end of the first pass

    def left_s(self) -> float:
        """Return the forecast of what is left, scaled by the pace of the later passes if known."""
        done_s, spent_s, trusted_s = self.done_s, self.spent_s, _TRUSTED_SHARE * self.total_s
        if done_s - self.before[0] >= trusted_s:
            done_s, spent_s = done_s - self.before[0], spent_s - self.before[1]
        more_s = max(0.0, trusted_s - done_s)
        pace = (spent_s + more_s) / (done_s + more_s) if done_s else 1.0
        return max(0.0, pace * (self.total_s - self.done_s))


class Countdown:
    """Time left of a sweep: the forecast of what is left, scaled by the pace so far.

    The first cases are slow, because libraries are loaded. Until a twentieth of the forecast is
    done, the remainder of that twentieth counts as forecast. After the first pass only the pace of
    the later ones counts, once they have done a twentieth. Roofline probes have a pace of their
    own.

    `forecast_s` has the seconds of each case in every pass, `passes` the number of passes that are
    left, `first_s` the further seconds in the first pass, without cases that are known.
    """

    def __init__(
        self,
        forecast_s: Mapping[Case, float],
        passes: Mapping[Case, int],
        first_s: Mapping[Case, float] | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self.done, self.total = 0, sum(passes.values())
        self._forecast_s, self._first_s = forecast_s, dict(first_s or {})
        self._now_s, self._last_s = now_s, now_s()
        self._paces = {True: _Pace(0.0), False: _Pace(0.0)}
        for case, seconds in forecast_s.items():
            more_s = self._first_s.get(case, 0.0)
            self._paces[is_probe(case)].total_s += passes[case] * seconds + more_s

    @property
    def left_s(self) -> float:
        """Approximate seconds left."""
        return sum(pace.left_s() for pace in self._paces.values())

    def tick(self, case: Case, once_s: float = 0.0) -> None:
        """Count one more measurement; `once_s` of its seconds occur only once per sweep."""
        self.done += 1
        now_s, pace = self._now_s(), self._paces[is_probe(case)]
        first_s = self._first_s.pop(case, None)
        pace.done_s += self._forecast_s[case] + (first_s or 0.0)
        pace.spent_s += now_s - self._last_s - once_s
        self._last_s = now_s
        if first_s is not None and not self._first_s:  # the end of the first pass
            for one in self._paces.values():
                one.before = one.done_s, one.spent_s
