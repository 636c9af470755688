"""Conducts contests: asks measuring processes for one step after another, in random turns.

A backend with a thread pool of its own has a process of its own, since two pools that spin in one
process slow each other down; its blocks still take turns with those of the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.measure.outcome import Outcome
from convsweep.measure.reference import PackedReference
from convsweep.measure.worker import (
    Block,
    Finish,
    Message,
    Reply,
    Setup,
    SetupDone,
    Validate,
    WarmUp,
)
from convsweep.problems.case import Case
from convsweep.problems.problem import ConvProblem
from convsweep.sweep.worker_pool import START_LIMIT_S, WorkerPool
from convsweep.sweep.worker_process import WorkerDied, WorkerTimeout

_MOST_TRUTHS_BYTES = 2**29
_RESTART_WORKER_AFTER = (
    "error",
    "out_of_memory",
)  # after these a device or an allocator may be broken

Outcomes = Iterator[tuple[Case, Outcome]]

Late = Callable[[Case], None]
"""Told of a case whose first calls take long, while they do."""


class ReferenceCache:
    """The float64 truths of a run, each computed once, as many as there is room for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[ConvProblem, str, str], PackedReference] = {}
        self._room = _MOST_TRUTHS_BYTES

    def get(self, case: Case) -> PackedReference | None:
        """The truth of the case's problem, if it is kept."""
        return self._kept.get((case.problem, case.weight_kind, case.dtype))

    def keep(self, case: Case, truth: PackedReference | None) -> None:
        """Keep it, if there is one and it fits."""
        if truth is not None and truth.nbytes <= self._room:
            self._kept[case.problem, case.weight_kind, case.dtype] = truth
            self._room -= truth.nbytes


class _CaseFailed(Exception):
    """These cases have ended a measuring process, or made it silent."""

    def __init__(self, cases: Sequence[Case], outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.cases, self.outcome = cases, outcome


class Scheduler:
    """Measures groups of cases in one pass; processes that fail are replaced by new ones."""

    def __init__(
        self,
        company: WorkerPool,
        backends: Mapping[str, Backend],
        truths: ReferenceCache,
        late: Late = lambda case: None,
    ) -> None:
        self._company, self._backends, self._truths = company, backends, truths
        self._rng, self._late = random.Random(company.settings.seed), late

    def measure(self, cases: Sequence[Case]) -> Outcomes:
        """Each case's outcome as soon as it is known; the cases share one problem."""
        waiting = dict.fromkeys(cases)
        while waiting:
            try:
                for case, outcome in self._contest(list(waiting)).outcomes():
                    del waiting[case]
                    yield case, outcome
                    if outcome.status in _RESTART_WORKER_AFTER:
                        self.close()
                        break
            except _CaseFailed as blamed:
                self.close()
                for case in blamed.cases:
                    del waiting[case]
                    yield case, blamed.outcome

    def _contest(self, cases: Sequence[Case]) -> _GroupScheduler:
        backends = {case: self._backends[case.backend] for case in cases}
        return _GroupScheduler(self._company, backends, self._truths, self._rng, self._late)

    def close(self) -> None:
        """End all processes at once."""
        self._company.close()


class _GroupScheduler:
    """One problem's contest, from its opening to the last outcome."""

    def __init__(
        self,
        company: WorkerPool,
        backends: Mapping[Case, Backend],
        truths: ReferenceCache,
        rng: random.Random,
        late: Late,
    ) -> None:
        self._company, self._truths, self._rng, self._late = company, truths, rng, late
        self._process_keys = {
            c: c.backend if backend.own_threads else "" for c, backend in backends.items()
        }
        # Threads that wait for work spin, and would take a core from the next one's turn.
        self._rest = company.settings.threads > 1 and len(set(self._process_keys.values())) > 1
        self._limit_s = company.settings.case_timeout_s
        # The gate alone prepares once more, for whole numbers.
        times = 1 if company.settings.effort else 2
        self._compile_s = {case: times * backend.compile_s for case, backend in backends.items()}
        self._left_s = {case: self._limit_s + more for case, more in self._compile_s.items()}
        self._index: dict[Case, int] = {}
        self._blocks: dict[Case, int] = {}

    def outcomes(self) -> Outcomes:
        for home in dict.fromkeys(self._process_keys.values()):
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
        members = [case for case, where in self._process_keys.items() if where == home]
        truth = self._truths.get(members[0])
        try:
            reply = self._company.ask(home, Setup(members, truth), START_LIMIT_S)
        except WorkerTimeout:
            reason = f"inputs and truth are not there after {START_LIMIT_S:g} s"
            raise _CaseFailed(members, Outcome("error", reason)) from None
        except WorkerDied as ended:
            raise _CaseFailed(members, Outcome("crash", str(ended))) from None
        if isinstance(reply, SetupDone):
            self._truths.keep(members[0], reply.reference)
            self._index |= {case: index for index, case in enumerate(members)}
        else:
            yield from ((case, _outcome(reply)) for case in members)

    def _admit(self, case: Case) -> Outcomes:
        admitted = _outcome(self._ask(case, Validate, partial(self._late, case)))
        self._compile_s[case] = 0.0  # what it left is for nothing else
        self._left_s[case] = min(self._left_s[case], self._limit_s)
        if admitted.status != "ok" or self._company.settings.effort is None:
            yield case, admitted
            return
        blocks = self._ask(case, partial(WarmUp, yield_turn=self._rest))
        if isinstance(blocks, int):
            self._blocks[case] = blocks
        else:
            yield case, _outcome(blocks)

    def _time_block(self, case: Case) -> Outcomes:
        failed = self._ask(case, partial(Block, yield_turn=self._rest))
        if failed is not None:
            del self._blocks[case]
            yield case, _outcome(failed)

    def _ask(
        self,
        case: Case,
        step: Callable[[int], Message],
        late: Callable[[], None] | None = None,
    ) -> Reply:
        """Have one step done; the case is blamed where it does not end."""
        started, request = monotonic(), step(self._index[case])
        try:
            return self._company.ask(self._process_keys[case], request, self._left_s[case], late)
        except WorkerTimeout:
            reason = f"cut off at the limit of {self._limit_s:g} s"
            if more_s := self._compile_s[case]:
                reason += f", and {more_s:g} s to compile"
            raise _CaseFailed([case], Outcome("timeout", reason)) from None
        except WorkerDied as ended:
            raise _CaseFailed([case], Outcome("crash", str(ended))) from None
        finally:
            self._left_s[case] -= monotonic() - started


def _outcome(reply: Reply) -> Outcome:
    assert isinstance(reply, Outcome), f"a measuring process answered {reply!r}"
    return reply
