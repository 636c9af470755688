"""Interleaving of backends, settings and problems: blocks in random order, in worker processes.

Each number of threads has its own process, and so has a backend with its own thread pool, because
two spinning pools in one process slow each other down. Their blocks take turns all the same.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from time import monotonic
from typing import TypeVar

from convsweep.backends.base import Backend
from convsweep.measure import messages
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.sweep.first_pass import FirstPassData
from convsweep.sweep.forecast import PASS_START_S
from convsweep.sweep.sharding import group_cases, group_siblings
from convsweep.sweep.worker_pool import START_LIMIT_S, WorkerDied, WorkerPool, WorkerTimeout

_COMPILING_SHARE = 0.5  # of a budget: the most that one backend may take to compile
_CHECKS_SHARE = 0.6  # of the time before timing: the most for traces and peak memory after it
_LATER_CHECKS_SHARE = 0.2  # the same from the third pass on, without them
_RESTART_WORKER_AFTER = ("error", "out_of_memory")  # a device or allocator may be broken

T = TypeVar("T")
Outcomes = Iterator[tuple[Case, Outcome]]


class _CaseFailed(Exception):
    """These cases ended their worker process, or exceeded a time limit."""

    def __init__(self, cases: Sequence[Case], outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.cases, self.outcome = cases, outcome


class _BudgetSpent(Exception):
    """The budget ended during a step."""


class Scheduler:
    """Measurement in one pass. Failed worker processes are replaced.

    `on_slow_call` is called during the slow first calls of a case.
    """

    def __init__(
        self,
        pool: WorkerPool,
        backends: Mapping[str, Backend],
        first: FirstPassData,
        on_slow_call: Callable[[Case], None] = lambda case: None,
    ) -> None:
        self.pool, self.backends, self.first = pool, backends, first
        self.on_slow_call = on_slow_call
        self.rng = random.Random(pool.settings.seed)

    def measure(
        self,
        cases: Sequence[Case],
        budget_left_s: Callable[[], float] = lambda: inf,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Outcomes:
        """Yield the outcome of each case once it is known.

        Several groups are measured together: their blocks take turns, so that those of a case are
        spread over the time of all. If one of them fails, the rest is measured group by group.

        Cases that are not measured when the budget ends have no outcome. After `should_stop` the
        blocks so far are the measurement.
        """
        waiting, together = dict.fromkeys(cases), True
        while waiting:
            groups = group_cases(waiting)
            together = together and len(groups) > 1
            batch = _Batch(self, groups if together else groups[:1], budget_left_s, should_stop)
            try:
                for case, outcome in batch.outcomes():
                    is_failure = outcome.status in _RESTART_WORKER_AFTER
                    if not (is_failure and together):
                        del waiting[case]
                        yield case, outcome
                    if is_failure:
                        self.close()
                        together = False
                        break
            except _BudgetSpent:
                self.close()
                return
            except _CaseFailed as failed:
                self.close()
                for case in failed.cases if not together else ():
                    del waiting[case]
                    yield case, failed.outcome
                together = False

    def close(self) -> None:
        """End all processes at once."""
        self.pool.close()


class _Batch:
    """Measurement of some groups together, from their setup to the last outcome."""

    def __init__(
        self,
        scheduler: Scheduler,
        groups: Sequence[Sequence[Case]],
        budget_left_s: Callable[[], float],
        should_stop: Callable[[], bool],
    ) -> None:
        self._groups, self._budget_left_s, self._should_stop = groups, budget_left_s, should_stop
        self._pool, self._first = scheduler.pool, scheduler.first
        self._rng, self._on_slow_call = scheduler.rng, scheduler.on_slow_call
        settings = scheduler.pool.settings
        backends = {case: scheduler.backends[case.backend] for own in groups for case in own}
        self._process_keys = {
            c: (c.threads, c.backend if backend.own_threads else "")
            for c, backend in backends.items()
        }
        # Idle threads spin, and would take a core from the next process.
        several = len(set(self._process_keys.values())) > 1
        self._yields_turn = {case: several and case.threads > 1 for case in backends}
        self._limit_s = settings.case_timeout_s
        # Without timing, the gate prepares once more, for integers.
        times = 1 if settings.effort else 2
        most_s = _COMPILING_SHARE * budget_left_s()
        self._compile_s = {c: min(times * b.compile_s, most_s) for c, b in backends.items()}
        self._left_s = {case: self._limit_s + more for case, more in self._compile_s.items()}
        self._index: dict[Case, int] = {}
        self._set_up_in: Counter[tuple[int, str]] = Counter()  # cases per process
        self._blocks: dict[Case, int] = {}
        self._step_s: dict[Case, float] = {}  # seconds of each case's last step
        self._checks_s = 0.0

    def outcomes(self) -> Outcomes:
        started, round_s = monotonic(), 0.0
        for group in self._groups:
            if self._index and self._should_stop():
                raise _BudgetSpent
            yield from self._check(group)
        before_s, round_index, is_timed = monotonic() - started, 0, True
        while is_timed and self._has_round(round_index, round_s, before_s):
            started, is_timed = monotonic(), False
            for case in self._round(round_index):
                is_timed = True
                yield from self._time_block(case)
            round_s = monotonic() - started
            round_index += 1
        for case in self._round(is_last=True):
            yield from self._time_block(case, is_last=True)
        for case in self._blocks:
            outcome = _outcome(self._ask(case, messages.Finish))
            self._first.call_s[case] = outcome.time_s
            yield case, outcome

    def _check(self, group: Sequence[Case]) -> Outcomes:
        """Set a group up, validate its cases and warm them up; yield those that end here."""
        for key in dict.fromkeys(self._process_keys[case] for case in group):
            yield from self._set_up(key, group)
        started = monotonic()
        for case in self._shuffled(case for case in group if case in self._index):
            yield from self._validate(case)
        self._checks_s += monotonic() - started

    def _round(self, index: int = 0, *, is_last: bool = False) -> Iterator[Case]:
        """Yield each case with a block in this round: sibling by sibling, group by group.

        In the `is_last` one that is every case.
        """
        least = 0 if is_last else min(index + 1, max(self._blocks.values()) - 1)
        for siblings in self._shuffled(group_siblings(self._groups)):
            for group in self._shuffled(siblings):
                own = (c for c in group if self._blocks.get(c, 0) > least)
                # A block takes as long as the one before; the last one needs time, too.
                any_time = is_last or not index
                in_time = (c for c in own if any_time or self._left_s[c] > 3 * self._step_s[c])
                yield from self._shuffled(in_time)

    def _has_round(self, index: int, round_s: float, before_s: float) -> bool:
        """Return whether another round follows before the last one.

        Either it is planned, or no other pass fits the budget. `before_s` is the time before the
        first round.
        """
        is_later, left_s = self._pool.settings.pass_index > 0, self._budget_left_s()
        share = _LATER_CHECKS_SHARE if self._pool.settings.pass_index > 1 else _CHECKS_SHARE
        checks_s = share * self._checks_s
        planned = index + 1 < max(self._blocks.values(), default=0)
        another_s = PASS_START_S + before_s + 3 * round_s + 2 * checks_s
        is_last = bool(self._blocks) and is_later and left_s < another_s
        if not index or not (planned or is_last):
            return planned
        return not self._should_stop() and left_s >= 2 * round_s + checks_s

    def _shuffled(self, items: Iterable[T]) -> list[T]:
        listed = list(items)
        return self._rng.sample(listed, len(listed))

    def _set_up(self, key: tuple[int, str], group: Sequence[Case]) -> Outcomes:
        """Set a group up in one process. Yields the outcomes if that fails."""
        members = [case for case in group if self._process_keys[case] == key]
        known = self._first.file(members[0])
        budget_s = self._budget_left_s()
        try:
            request = messages.Setup(members, known, first=not self._set_up_in[key])
            reply = self._pool.ask(key, request, min(START_LIMIT_S, budget_s))
        except WorkerTimeout:
            if budget_s < START_LIMIT_S:
                raise _BudgetSpent from None
            reason = f"inputs and reference are not ready after {START_LIMIT_S:g} s"
            raise _CaseFailed(members, Outcome("error", reason)) from None
        except WorkerDied as error:
            raise _CaseFailed(members, Outcome("crash", str(error))) from None
        if isinstance(reply, messages.SetupDone):
            if reply.file:
                self._first.keep(members[0], reply.file)
            for case in members:
                self._index[case] = self._set_up_in[key]
                self._set_up_in[key] += 1
        else:
            yield from ((case, _outcome(reply)) for case in members)

    def _validate(self, case: Case) -> Outcomes:
        accepted, call_s = self._first.accepted.get(case, b""), self._first.call_s.get(case)
        step = partial(messages.Validate, accepted=accepted, call_s=call_s)
        outcome = _outcome(self._ask(case, step, partial(self._on_slow_call, case)))
        if not self._pool.settings.is_last_pass:
            self._first.accepted[case] = outcome.accepted
        self._compile_s[case] = 0.0  # later steps have no time to compile
        self._left_s[case] = min(self._left_s[case], self._limit_s)
        if outcome.status != "ok" or self._pool.settings.effort is None:
            yield case, outcome
            return
        blocks = self._ask(case, partial(messages.WarmUp, yield_turn=self._yields_turn[case]))
        if isinstance(blocks, int):
            self._blocks[case] = blocks
        else:
            yield case, _outcome(blocks)

    def _time_block(self, case: Case, *, is_last: bool = False) -> Outcomes:
        """Time one block; yield the outcome of a case that fails."""
        step = partial(messages.Block, is_last=is_last, yield_turn=self._yields_turn[case])
        if (failed := self._ask(case, step)) is not None:
            del self._blocks[case]
            yield case, _outcome(failed)

    def _ask(
        self,
        case: Case,
        step: Callable[[int], messages.Message],
        on_slow_call: Callable[[], None] | None = None,
    ) -> messages.Reply:
        """Run one step of a case; raise `_CaseFailed` if it does not end."""
        started, request = monotonic(), step(self._index[case])
        budget_s, limit_s = self._budget_left_s(), self._left_s[case]
        try:
            key = self._process_keys[case]
            return self._pool.ask(key, request, min(limit_s, budget_s), on_slow_call)
        except WorkerTimeout:
            if budget_s < limit_s:
                raise _BudgetSpent from None
            reason = f"cut off at the limit of {self._limit_s:g} s"
            if more_s := self._compile_s[case]:
                reason += f", and {more_s:g} s to compile"
            raise _CaseFailed([case], Outcome("timeout", reason)) from None
        except WorkerDied as error:
            raise _CaseFailed([case], Outcome("crash", str(error))) from None
        finally:
            self._step_s[case] = monotonic() - started
            self._left_s[case] -= self._step_s[case]


def _outcome(reply: messages.Reply) -> Outcome:
    assert isinstance(reply, Outcome), f"unexpected reply {reply!r}"
    return reply
