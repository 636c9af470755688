"""The whole sweep: passes in fresh processes, the order of cases, time limits, faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.measure.gate import min_calls, skipped_outcome
from convsweep.measure.outcome import Outcome
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.results.schema import ROOFLINE
from convsweep.sweep.forecast import (
    Countdown,
    Predictor,
    case_s,
    visits,
)
from convsweep.sweep.scheduler import Outcomes, ReferenceCache, Scheduler
from convsweep.sweep.worker_pool import WorkerFactory, WorkerPool, start_worker


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands."""

    done: int
    total: int | None
    """All visits; None where nobody knows how many passes there will be."""
    case: Case
    """The case last worked on."""
    remaining_s: float | None
    """Seconds left; None where nobody knows."""
    first_call: Backend | None = None
    """The case's backend, where its first call is taking long right now."""


@dataclass
class Spent:
    """Where the time of a sweep went, in seconds by phase."""

    phases_s: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=monotonic)

    def told(self) -> dict[str, float]:
        """Every phase, the rest, and the whole; as environment.json tells it."""
        wall_s = monotonic() - self.started
        rest_s = wall_s - sum(self.phases_s.values())
        return {**self.phases_s, "other_s": rest_s, "wall_s": wall_s}


PassResults = Mapping[tuple[int, Case], Outcome]
"""What is known already: the outcome of a case in a pass."""


@dataclass(frozen=True)
class StopHooks:
    """When a sweep is over before its last pass; by default never."""

    now: Callable[[], bool] = lambda: False
    """Asked between groups of cases: whether to stop at once."""
    active_cases: Callable[[int], Collection[Case] | None] = lambda pass_index: None
    """Asked before each pass: the cases that are worth another visit; None: all."""


def sweep(
    cases: Sequence[Case],
    backends: Mapping[str, Backend],
    settings: Settings,
    *,
    passes: int,
    record: Callable[[int, Case, Outcome], None],
    observe: Callable[[Progress], None] = lambda progress: None,
    stops: StopHooks | None = None,
    known: PassResults | None = None,
    launch: WorkerFactory = start_worker,
) -> Spent:
    """Visit every case once a pass, and record one outcome each time.

    The first pass goes from small problems to large ones, so that what can't end in time is
    predicted; later ones go in random order. What did not end well in the first pass is not
    tried again: its outcome is recorded again.

    Args:
        cases: what to measure; the backends of one group are interleaved.
        backends: by name, at least those of the cases.
        settings: of every measuring process; its threads are the cases' own.
        passes: visits to every case at most, each in fresh processes.
        record: called with the pass, the case and its outcome, as soon as it is known.
        observe: called whenever something has moved on.
        stops: when to stop before that.
        known: visits of an earlier, interrupted sweep; they are not made again.
        launch: makes a measuring process.
    """
    stops, spent = stops or StopHooks(), Spent()
    skipped = {
        case: skip for case in cases if (skip := skipped_outcome(case, backends[case.backend]))
    }
    book = SweepState(backends, settings, known or {}, skipped)
    rng, truths = random.Random(settings.seed), ReferenceCache()
    due = {case: visits(case, passes) for case in cases}
    forecast = {case: case_s(case, backends, settings) for case in cases}
    standing = _ProgressReporter(backends, Countdown(forecast, due), observe)
    for pass_index in range(passes):
        worth = stops.active_cases(pass_index)
        if worth is not None and not worth:
            break
        groups = group_cases(
            case for case in cases if pass_index < due[case] and (worth is None or case in worth)
        )
        groups.sort(key=by_macs)
        if pass_index:
            rng.shuffle(groups)
        for threads in sorted({case.threads for case in cases}):
            seed = rng.randrange(2**32)
            own = replace(settings, threads=threads, seed=seed, pass_index=pass_index)
            company = WorkerPool(own, spent.phases_s, launch)
            with closing(Scheduler(company, backends, truths, standing.late)) as conductor:
                for group in (group for group in groups if group[0].threads == threads):
                    if stops.now():
                        return spent
                    told, waiting = book.divide(pass_index, group)
                    measured = conductor.measure(waiting)
                    for case, outcome in chain(told, book.learning(measured)):
                        record(pass_index, case, outcome)
                        standing.done(case, outcome)
    return spent


class _ProgressReporter:
    """Where a sweep stands, told to its observer."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        countdown: Countdown,
        observe: Callable[[Progress], None],
    ) -> None:
        self._backends, self._countdown, self._observe = backends, countdown, observe

    def late(self, case: Case) -> None:
        """The case's first call is taking long."""
        self._tell(case, self._backends[case.backend])

    def done(self, case: Case, outcome: Outcome) -> None:
        """One more visit is over."""
        self._countdown.tick(case, _once_s(outcome, self._backends[case.backend]))
        self._tell(case)

    def _tell(self, case: Case, first_call: Backend | None = None) -> None:
        left = self._countdown
        self._observe(Progress(left.done, left.total, case, left.left_s, first_call))


def _once_s(outcome: Outcome, backend: Backend) -> float:
    """The seconds that a backend may have compiled for, which later cases won't take."""
    if not backend.compile_s or backend.compiles_per_problem:
        return 0.0
    return (outcome.prepare_s or 0.0) + (outcome.first_call_s or 0.0)


class SweepState:
    """What a sweep has learnt of its cases: what is known, what is settled, what takes too long."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        settings: Settings,
        known: PassResults,
        skipped: Mapping[Case, Outcome],
    ) -> None:
        self._settings, self._known, self._backends = settings, known, backends
        self._settled = dict(skipped)
        self._predictor = Predictor()
        for (_, case), outcome in known.items():
            self.learn(case, outcome)

    def divide(
        self, pass_index: int, group: Sequence[Case]
    ) -> tuple[list[tuple[Case, Outcome]], list[Case]]:
        """Of a group's cases not visited in this pass: those settled, and those to measure."""
        waiting = [case for case in group if (pass_index, case) not in self._known]
        for case in waiting:
            if case not in self._settled and (
                late := predicted_timeout(case, self._predictor, self._settings)
            ):
                self._settled[case] = late
        told = [(case, self._settled[case]) for case in waiting if case in self._settled]
        return told, [case for case in waiting if case not in self._settled]

    def learning(self, outcomes: Outcomes) -> Outcomes:
        """The same outcomes, each learnt as it passes."""
        for case, outcome in outcomes:
            self.learn(case, outcome)
            yield case, outcome

    def learn(self, case: Case, outcome: Outcome) -> None:
        """Note how fast it is; what failed is settled for the passes to come."""
        if outcome.status != "ok":
            self._settled[case] = outcome
        if outcome.median_s is not None:
            self._predictor.learn(case, outcome.median_s)
        elif outcome.first_call_s is not None:
            compile_s = self._backends[case.backend].compile_s
            self._predictor.learn(case, outcome.first_call_s - compile_s)


def by_macs(group: Sequence[Case]) -> tuple[bool, int]:
    """By work, behind what measures the machine."""
    layer = group[0].layer
    return layer.role != ROOFLINE, layer.problem.macs


def group_cases(cases: Iterable[Case]) -> list[list[Case]]:
    """The cases that are compared and interleaved with each other, together."""
    groups: dict[Case, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    return list(groups.values())


def predicted_timeout(case: Case, predictor: Predictor, settings: Settings) -> Outcome | None:
    """`timeout`, where smaller cases tell that this one can't end in time."""
    found = predictor.at_least_s(case)
    needed = min_calls(settings.effort)
    if found is None or needed * found[0] <= settings.case_timeout_s:
        return None
    call_s, smaller = found
    return Outcome(
        "timeout",
        f"predicted from {smaller.problem.label}: at least {call_s:.3g} s a call and {needed} are "
        f"needed, over the limit of {settings.case_timeout_s:g} s",
    )
