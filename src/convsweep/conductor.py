"""Conducts contests: asks measuring processes for one step after another, in random turns.

A backend with a thread pool of its own has a process of its own, since two pools that spin in one
process slow each other down; its blocks still take turns with those of the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Protocol

from convsweep.backend import Backend
from convsweep.child import Child, Ended, Silent
from convsweep.grid import Case
from convsweep.problem import ConvProblem
from convsweep.record import Outcome
from convsweep.reference import PackedTruth
from convsweep.worker import (
    Admit,
    Block,
    Describe,
    Finish,
    Open,
    Opened,
    Reply,
    Request,
    Settings,
    WarmUp,
)

START_LIMIT_S = 300.0
"""The longest that a measuring process may take to start, and for a problem's inputs and truth."""

_MOST_TRUTHS_BYTES = 2**29
_DOUBTFUL = ("error", "out_of_memory")  # after these a device or an allocator may be broken

_PHASES: dict[type[Request], str] = {
    Describe: "start_s",
    Open: "reference_s",
    Admit: "gate_s",
    WarmUp: "warm_up_s",
    Block: "timing_s",
    Finish: "gate_s",
}
"""What each request's time is told as in environment.json."""

Outcomes = Iterator[tuple[Case, Outcome]]


class Process(Protocol):
    """A measuring process, or a fake one in tests."""

    def ask(self, request: Request, limit_s: float) -> Reply:
        """The process's answer; raises `Silent` or `Ended`."""

    def close(self) -> None:
        """End it at once."""


Launch = Callable[[Settings], Process]


def launch_child(settings: Settings) -> Process:
    """A process of its own."""
    return Child(settings)


def conditions(settings: Settings, launch: Launch = launch_child) -> dict[str, object]:
    """What a measuring process says of the conditions that it runs under.

    Raises:
        ValueError: none can be started.
    """
    process = launch(settings)
    try:
        found = process.ask(Describe(), START_LIMIT_S)
    except (Silent, Ended) as error:
        raise ValueError(f"no measuring process can be started: {error}") from None
    finally:
        process.close()
    assert isinstance(found, dict), f"a measuring process answered {found!r}"
    return found


class Truths:
    """The float64 truths of a run, each computed once, as many as there is room for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[ConvProblem, str, str], PackedTruth] = {}
        self._room = _MOST_TRUTHS_BYTES

    def get(self, case: Case) -> PackedTruth | None:
        """The truth of the case's problem, if it is kept."""
        return self._kept.get((case.problem, case.weight_kind, case.dtype))

    def keep(self, case: Case, truth: PackedTruth | None) -> None:
        """Keep it, if there is one and it fits."""
        if truth is not None and truth.nbytes <= self._room:
            self._kept[case.problem, case.weight_kind, case.dtype] = truth
            self._room -= truth.nbytes


class _Blamed(Exception):
    """These cases have ended a measuring process, or made it silent."""

    def __init__(self, cases: Sequence[Case], outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.cases, self.outcome = cases, outcome


class Company:
    """The measuring processes of one pass, each started when it is first asked."""

    def __init__(
        self, settings: Settings, spent_s: dict[str, float], launch: Launch = launch_child
    ) -> None:
        self.settings = settings
        self._launch, self._spent_s = launch, spent_s
        self._processes: dict[str, Process] = {}

    def ask(self, name: str, request: Request, limit_s: float) -> Reply:
        """What the process of that name answers; raises `Silent` or `Ended`."""
        process = self._processes.get(name) or self._start(name)
        started = monotonic()
        try:
            reply = process.ask(request, limit_s)
        finally:
            self._spend(_PHASES[type(request)], monotonic() - started)
        if isinstance(request, Admit) and isinstance(reply, Outcome):
            # The gate's own calls warm the backend up, its first one included.
            self._spend("gate_s", -reply.gate_calls_s)
            self._spend("warm_up_s", reply.gate_calls_s)
        return reply

    def _start(self, name: str) -> Process:
        started = monotonic()
        process = self._processes[name] = self._launch(self.settings)
        process.ask(Describe(), START_LIMIT_S)
        self._spend("start_s", monotonic() - started)
        return process

    def _spend(self, phase: str, seconds: float) -> None:
        self._spent_s[phase] = self._spent_s.get(phase, 0.0) + seconds

    def close(self) -> None:
        """End all processes at once."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()


class Conductor:
    """Measures groups of cases in one pass; processes that fail are replaced by new ones."""

    def __init__(self, company: Company, backends: Mapping[str, Backend], truths: Truths) -> None:
        self._company, self._backends, self._truths = company, backends, truths
        self._rng = random.Random(company.settings.seed)

    def measure(self, cases: Sequence[Case]) -> Outcomes:
        """Each case's outcome as soon as it is known; the cases share one problem."""
        waiting = dict.fromkeys(cases)
        while waiting:
            try:
                for case, outcome in self._contest(list(waiting)).outcomes():
                    del waiting[case]
                    yield case, outcome
                    if outcome.status in _DOUBTFUL:
                        self.close()
                        break
            except _Blamed as blamed:
                self.close()
                for case in blamed.cases:
                    del waiting[case]
                    yield case, blamed.outcome

    def _contest(self, cases: Sequence[Case]) -> _Contest:
        homes = {
            case: case.backend if self._backends[case.backend].own_threads else "" for case in cases
        }
        return _Contest(self._company, homes, self._truths, self._rng)

    def close(self) -> None:
        """End all processes at once."""
        self._company.close()


class _Contest:
    """One problem's contest, from its opening to the last outcome."""

    def __init__(
        self, company: Company, homes: Mapping[Case, str], truths: Truths, rng: random.Random
    ) -> None:
        self._company, self._homes, self._truths, self._rng = company, homes, truths, rng
        self._left_s = dict.fromkeys(homes, company.settings.case_timeout_s)
        self._index: dict[Case, int] = {}
        self._blocks: dict[Case, int] = {}

    def outcomes(self) -> Outcomes:
        for home in dict.fromkeys(self._homes.values()):
            yield from self._open(home)
        for case in self._shuffled(self._index):
            yield from self._admit(case)
        for round_index in range(max(self._blocks.values(), default=0)):
            for case in self._shuffled(c for c, n in self._blocks.items() if round_index < n):
                yield from self._time_block(case)
        for case in self._blocks:
            yield case, _outcome(self._ask(case, Finish))

    def _shuffled(self, cases: Iterable[Case]) -> list[Case]:
        listed = list(cases)
        return self._rng.sample(listed, len(listed))

    def _open(self, home: str) -> Outcomes:
        """Open the contest in one process, for the cases that are at home there."""
        members = [case for case, where in self._homes.items() if where == home]
        truth = self._truths.get(members[0])
        try:
            reply = self._company.ask(home, Open(members, truth), START_LIMIT_S)
        except Silent:
            reason = f"inputs and truth are not there after {START_LIMIT_S:g} s"
            raise _Blamed(members, Outcome("error", reason)) from None
        except Ended as ended:
            raise _Blamed(members, Outcome("crash", str(ended))) from None
        if isinstance(reply, Opened):
            self._truths.keep(members[0], reply.truth)
            self._index |= {case: index for index, case in enumerate(members)}
        else:
            yield from ((case, _outcome(reply)) for case in members)

    def _admit(self, case: Case) -> Outcomes:
        admitted = _outcome(self._ask(case, Admit))
        if admitted.status != "ok" or self._company.settings.effort is None:
            yield case, admitted
            return
        blocks = self._ask(case, WarmUp)
        if isinstance(blocks, int):
            self._blocks[case] = blocks
        else:
            yield case, _outcome(blocks)

    def _time_block(self, case: Case) -> Outcomes:
        failed = self._ask(case, Block)
        if failed is not None:
            del self._blocks[case]
            yield case, _outcome(failed)

    def _ask(self, case: Case, step: Callable[[int], Request]) -> Reply:
        """Have one step done; the case is blamed where it does not end."""
        started = monotonic()
        try:
            return self._company.ask(self._homes[case], step(self._index[case]), self._left_s[case])
        except Silent:
            limit_s = self._company.settings.case_timeout_s
            outcome = Outcome("timeout", f"cut off at the limit of {limit_s:g} s")
            raise _Blamed([case], outcome) from None
        except Ended as ended:
            raise _Blamed([case], Outcome("crash", str(ended))) from None
        finally:
            self._left_s[case] -= monotonic() - started


def _outcome(reply: Reply) -> Outcome:
    assert isinstance(reply, Outcome), f"a measuring process answered {reply!r}"
    return reply
