"""The whole sweep: passes in fresh processes, the order of cases, time limits, faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from convsweep.admission import fewest_calls
from convsweep.backend import Backend
from convsweep.child import Child, Failed
from convsweep.forecast import (
    START_S,
    Countdown,
    Predictor,
    family,
    nominal_call_s,
    nominal_s,
)
from convsweep.grid import Case
from convsweep.inputs import why_no_format
from convsweep.record import Outcome
from convsweep.registry import why_skipped
from convsweep.worker import Settings


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands."""

    done: int
    total: int
    """Cases times passes."""
    case: Case
    """The case last worked on."""
    remaining_s: float


class Measurer(Protocol):
    """Whoever measures groups of cases: a child process, or a fake one in tests."""

    def measure(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Each case's outcome as it comes; raises `Failed` where one ended the process."""

    def close(self) -> None:
        """End it at once."""


Launch = Callable[[Settings], Measurer]


def launch_child(settings: Settings) -> Measurer:
    """A measuring process of its own."""
    return Child(settings)


class _Crew:
    """Measures with one child after another: a new one where the last one failed."""

    def __init__(self, settings: Settings, launch: Launch) -> None:
        self._settings, self._launch = settings, launch
        self._measurer: Measurer | None = None

    def measure(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        waiting = dict.fromkeys(cases)
        while waiting:
            self._measurer = self._measurer or self._launch(self._settings)
            try:
                for case, outcome in self._measurer.measure(tuple(waiting)):
                    del waiting[case]
                    yield case, outcome
            except Failed as failed:
                self.close()
                for case in failed.cases:
                    del waiting[case]
                    yield case, failed.outcome

    def close(self) -> None:
        if self._measurer is not None:
            self._measurer.close()
            self._measurer = None


def sweep(
    cases: Sequence[Case],
    backends: Mapping[str, Backend],
    settings: Settings,
    *,
    passes: int,
    record: Callable[[int, Case, Outcome], None],
    observe: Callable[[Progress], None] = lambda progress: None,
    launch: Launch = launch_child,
) -> None:
    """Visit every case once a pass, and record one outcome each time.

    The first pass goes from small problems to large ones, so that what can't end in time is
    predicted; later ones go in random order. What did not end well in the first pass is not
    tried again: its outcome is recorded again.

    Args:
        cases: what to measure; the backends of one group are interleaved.
        backends: by name, at least those of the cases.
        settings: of every measuring process; its threads are the cases' own.
        passes: visits to every case, each in fresh processes.
        record: called with the pass, the case and its outcome, as soon as it is known.
        observe: called whenever something has moved on.
        launch: makes a measuring process.
    """
    groups = _groups(cases)
    rng = random.Random(settings.seed)
    settled = {case: skip for case in cases if (skip := why_not(case, backends[case.backend]))}
    predictor = Predictor()
    countdown = Countdown({case: _forecast_s(case, backends, settings) for case in cases}, passes)
    for pass_index in range(passes):
        order = sorted(groups, key=lambda group: group[0].problem.macs)
        if pass_index:
            rng.shuffle(order)
        for threads in sorted({case.threads for case in cases}):
            own = replace(settings, threads=threads, seed=rng.randrange(2**32))
            with closing(_Crew(own, launch)) as crew:
                for group in (g for g in order if g[0].threads == threads):
                    for case, outcome in _visit(group, crew, settled, predictor, settings):
                        record(pass_index, case, outcome)
                        remaining_s = countdown.tick(case)
                        observe(Progress(countdown.done, passes * len(cases), case, remaining_s))


def _visit(
    group: Sequence[Case],
    crew: _Crew,
    settled: dict[Case, Outcome],
    predictor: Predictor,
    settings: Settings,
) -> Iterator[tuple[Case, Outcome]]:
    """The outcome of every case of a group; what fails is settled for the passes to come."""
    for case in group:
        if case not in settled and (outcome := too_long(case, predictor, settings)):
            settled[case] = outcome
    known = [(case, settled[case]) for case in group if case in settled]
    yield from known
    for case, outcome in crew.measure([case for case in group if case not in settled]):
        if outcome.status != "ok":
            settled[case] = outcome
        if (call_s := outcome.median_s or outcome.first_call_s) is not None:
            predictor.learn(case, call_s)
        yield case, outcome


def _groups(cases: Iterable[Case]) -> list[list[Case]]:
    groups: dict[Case, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    return list(groups.values())


def why_not(case: Case, backend: Backend) -> Outcome | None:
    """`skipped`, with the reason, where the backend can't take part in the case."""
    reason = why_no_format(case.problem, case.memory_format) or why_skipped(
        backend,
        case.problem,
        weight_kind=case.weight_kind,
        device=case.device,
        dtype=case.dtype,
    )
    return Outcome("skipped", reason) if reason else None


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
        processes * START_S
        + passes * sum(_forecast_s(case, backends, settings) for case in cases)
        + len(cut_off) * settings.case_timeout_s
    )


def _forecast_s(case: Case, backends: Mapping[str, Backend], settings: Settings) -> float:
    backend = backends[case.backend]
    if why_not(case, backend) or not _ends_in_time(case, backend, settings):
        return 0.0
    return nominal_s(case, backend, settings.effort)


def _ends_in_time(case: Case, backend: Backend, settings: Settings) -> bool:
    if why_not(case, backend):
        return True
    needed = fewest_calls(settings.effort)
    return needed * nominal_call_s(case, backend) <= settings.case_timeout_s


def too_long(case: Case, predictor: Predictor, settings: Settings) -> Outcome | None:
    """`timeout`, where smaller cases tell that this one can't end in time."""
    found = predictor.at_least_s(case)
    needed = fewest_calls(settings.effort)
    if found is None or needed * found[0] <= settings.case_timeout_s:
        return None
    call_s, smaller = found
    return Outcome(
        "timeout",
        f"predicted from {smaller.problem.label}: at least {call_s:.3g} s a call and {needed} are "
        f"needed, over the limit of {settings.case_timeout_s:g} s",
    )
