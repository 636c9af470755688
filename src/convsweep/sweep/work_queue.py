"""Order of the work in a sweep, and the results so far."""

import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.measure.outcome import Outcome, RunInfo, retried
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.sweep.environment import Environment
from convsweep.sweep.forecast import Countdown, Predictor, case_s, first_s, is_probe, pass_count
from convsweep.sweep.network_runs import Network, NetworkRunner
from convsweep.sweep.sharding import batches, group_cases, group_siblings, is_auxiliary
from convsweep.sweep.stopping import PassResults, SweepMonitor
from convsweep.sweep.tuning import TUNED_AFTER, Tuning

_AUXILIARY_SHARE = 0.1  # of a budget: the most for roofline probes and separable parts

RecordOutcome = Callable[[int, Case, Outcome, str | None], None]
"""Called with the pass, the case, its outcome and the name of the node."""


@dataclass(frozen=True)
class Progress:
    """Progress of a sweep."""

    done: int
    total: int | None  # measurements in all; None: the number of passes is open
    case: Case  # last case
    remaining_s: float | None
    first_call: Backend | None = None
    """Backend of the case, if its first call is slow and still running."""


@dataclass
class SweepTask:
    """Some groups of cases, or one network, in one pass."""

    pass_index: int
    settings: Settings
    cases: Sequence[Case] = ()
    network: Network | None = None
    attempts: int = 0  # number of lost attempts
    is_retry: bool = False  # second attempt of one case, after an unlikely timeout

    @property
    def label(self) -> str:
        """Name of the network, or label of the problem."""
        return self.network.name if self.network else self.cases[0].problem.label


class GroupQueue:
    """Tasks of one environment, pass by pass, and their results.

    The first pass runs from small to large problems, so that timeouts can be predicted. It ends
    before the second begins; later passes run in random order. A case that failed is not measured
    again: its outcome is recorded in every pass. Only a timeout that the machine has caused is
    followed by a second attempt in the same pass. Networks are timed before each pass.

    `record` writes one outcome; `sync` waits for the disk; `known` are results of a resumed run.
    """

    def __init__(
        self,
        environment: Environment,
        settings: Settings,
        monitor: SweepMonitor,
        record: RecordOutcome,
        networks: NetworkRunner | None = None,
        known: PassResults | None = None,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        request = environment.request
        self.environment, self.monitor = environment, monitor
        self.networks = networks or NetworkRunner(None, (), (), (), RunInfo("", "", {}))
        self.running = 0  # tasks that the executor has started and not finished
        self.phases_s: dict[str, float] = {}  # seconds of the worker processes per phase
        self.backends = request.every_backend
        self._request, self._settings, self._record_row = request, settings, record
        self._cases, self._sync = request.every_case, sync
        self._with_row = {case for _, case in known or {}}
        # Nodes decide themselves which backends are installed there.
        skipped = {} if environment.nodes else request.skipped
        self._resolved, self._known = dict(skipped), known or {}
        self._predictor = Predictor()
        for (_, case), outcome in self._known.items():
            self._observe(case, outcome)
        self._rng = random.Random(settings.seed)
        self._passes = {case: pass_count(case, request.passes) for case in self._cases}
        done = Counter(case for _, case in self._known)
        measured = [c for c in self._cases if c not in request.skipped]
        self.countdown = Countdown(
            dict.fromkeys(self._cases, 0.0)
            | {case: case_s(case, self.backends, settings) for case in measured},
            {case: max(0, passes - done[case]) for case, passes in self._passes.items()},
            first_s([case for case in measured if case not in done], self.backends),
        )
        self.last_case = self._cases[0]
        self._requeued: deque[SweepTask] = deque()
        self._auxiliary_s, self._tuning = 0.0, Tuning()
        self._phases_before: dict[str, float] = {}
        self._batches_done = 0  # in the last pass
        self._tasks = self._all_tasks()
        self._stopped = False

    def next(self) -> SweepTask | None:
        """Return the next task. Returns None if running tasks must end first, or none is left."""
        self._sync()
        if self._stopped or (self._requeued and self._should_stop()):
            return None
        return self._requeued.popleft() if self._requeued else next(self._tasks, None)

    def requeue(self, task: SweepTask) -> None:
        """Run a task again."""
        self._requeued.append(task)

    def abort(self, end_reason: str) -> None:
        """Stop; nothing can run the rest."""
        self._stopped, self.monitor.end_reason = True, end_reason

    def add(self, task: SweepTask, case: Case, outcome: Outcome, node: str | None = None) -> None:
        """Record a measured outcome; after an unlikely timeout, run the case once more instead."""
        measured, backend = self.monitor.results.time_s, self.backends[case.backend]
        if task.is_retry:
            outcome = retried(outcome)
        elif outcome.status == "timeout" and self._predictor.is_stall(
            case, backend, task.settings, measured
        ):
            self.requeue(replace(task, cases=[case], is_retry=True))
            return
        self._observe(case, outcome)
        budgeted = self._request.budget_s is not None
        if budgeted and outcome.blocks:
            self._tuning.add(case, outcome.blocks)
        self._record(task.pass_index, case, outcome, node)

    def _observe(self, case: Case, outcome: Outcome) -> None:
        """Keep the outcome for predictions; settle a case that failed."""
        if outcome.status != "ok":
            self._resolved[case] = outcome
        self._predictor.observe(case, outcome)

    @property
    def unmeasured(self) -> list[Case]:
        """Cases that have no row yet."""
        return [case for case in self._cases if case not in self._with_row]

    @property
    def remaining_s(self) -> float | None:
        """Seconds left. Returns None if the number of passes and the time are open."""
        if not self._request.adaptive:
            return self.countdown.left_s
        left_s = self.monitor.budget.left_s
        return max(0.0, left_s) if isfinite(left_s) else None

    def _all_tasks(self) -> Iterator[SweepTask | None]:
        """Yield the tasks of all passes; None while a pass waits for the end of the one before."""
        request = self._request
        for pass_index in range(request.passes):
            while (pass_index == 1 or request.adaptive) and (self.running or self._requeued):
                yield None
            if pass_index and request.adaptive and self._resolved.keys() >= {*self._cases}:
                return  # no further pass can measure anything
            active = self.monitor.active_cases(pass_index, auxiliary=not self._auxiliary_spent)
            if active is not None and not active:
                return
            if pass_index > 1 and not self._fits_a_batch:
                self.monitor.end_reason = "budget"
                return
            if pass_index in TUNED_AFTER and request.budget_s is not None:
                self._tune()
            self._phases_before, self._batches_done = dict(self.phases_s), 0
            yield from self._pass_tasks(pass_index, active)
            if self._stopped:
                return

    def _tune(self) -> None:
        """Choose the number of blocks for the rest of the run."""
        (fixed_s, timing_s), left_s = self._last_pass_s, self.monitor.budget.left_s
        effort = self._settings.effort
        blocks = self._tuning.blocks(self._request.baseline, fixed_s, timing_s, left_s)
        if blocks and effort:
            longest_s = effort.case_s * max(1.0, blocks / effort.blocks)
            longest_s = min(longest_s, self._settings.case_timeout_s / 2)
            tuned = replace(effort, blocks=blocks, case_s=longest_s)
            self._settings = replace(self._settings, effort=tuned)

    @property
    def _last_pass_s(self) -> tuple[float, float]:
        """Seconds of the last pass for all but blocks, and for blocks."""
        last = {name: s - self._phases_before.get(name, 0.0) for name, s in self.phases_s.items()}
        timing_s = last.pop("timing_s", 0.0)
        return sum(last.values()), timing_s

    @property
    def _fits_a_batch(self) -> bool:
        """Whether the budget has time for a batch of one block, by those of the last pass."""
        fixed_s, timing_s = self._last_pass_s
        pass_s = fixed_s + timing_s / max(1, self.blocks)
        return self.monitor.budget.left_s >= pass_s / max(1, self._batches_done)

    @property
    def blocks(self) -> int:
        """Blocks per case and pass in the last pass."""
        return self._settings.effort.blocks if self._settings.effort else 0

    def _pass_tasks(self, pass_index: int, active: Collection[Case] | None) -> Iterator[SweepTask]:
        request = self._request
        for network in self.networks.due(pass_index):
            if self._should_stop():
                return
            yield SweepTask(pass_index, self._settings, network=network)
        for cases in self._batches(pass_index, active):
            if self._should_stop():
                return
            auxiliary = is_auxiliary(cases)
            if auxiliary and self._auxiliary_spent:
                continue
            if pending := self._record_resolved(pass_index, cases):
                own = replace(
                    self._settings,
                    seed=self._rng.randrange(2**32),
                    pass_index=pass_index,
                    is_last_pass=pass_index == request.passes - 1,
                    # Measuring it makes the next problem slower; in a batch there is none.
                    peak_memory=request.peak_memory and pass_index == min(1, request.passes - 1),
                )
                started = monotonic()
                yield SweepTask(pass_index, own, pending)
                self._batches_done += 1
                self._auxiliary_s += auxiliary * (monotonic() - started)

    @property
    def _auxiliary_spent(self) -> bool:
        """Whether roofline probes and separable parts have had their share of the budget."""
        return self._auxiliary_s >= _AUXILIARY_SHARE * (self._request.budget_s or inf)

    def _should_stop(self) -> bool:
        self._stopped = self._stopped or self.monitor.should_stop()
        return self._stopped

    def _batches(self, pass_index: int, active: Collection[Case] | None) -> Iterator[list[Case]]:
        """Yield the cases that are measured together.

        In the first pass these are the settings of one problem, because a larger batch size may
        exceed its time limit; on a cluster, siblings.
        """
        due = [case for case in self._cases if pass_index < self._passes[case]]
        groups = group_cases(case for case in due if active is None or case in active)
        if self._request.budget_s is None:  # else nothing auxiliary may use up the budget
            groups.sort(key=lambda own: (not is_probe(own[0]), own[0].problem.macs))
        else:
            groups.sort(key=lambda own: (is_auxiliary(own), own[0].problem.macs))
        families = group_siblings(groups, of_one_problem=not pass_index)
        if pass_index:
            self._rng.shuffle(families)
            families.sort(key=lambda siblings: is_auxiliary(siblings[0]))
        return batches(families, alone=not pass_index or bool(self.environment.nodes))

    def _record_resolved(self, pass_index: int, group: Sequence[Case]) -> list[Case]:
        """Record the cases that failed, or are predicted to. Returns the cases to measure."""
        cases = [case for case in group if (pass_index, case) not in self._known]
        for case in cases:
            if not (case in self._resolved or case in self.monitor.results.time_s) and (
                timeout := self._predictor.timeout(case, self._settings)
            ):
                self._resolved[case] = timeout
            if case in self._resolved:
                self._record(pass_index, case, self._resolved[case], None)
        return [case for case in cases if case not in self._resolved]

    def _record(self, pass_index: int, case: Case, outcome: Outcome, node: str | None) -> None:
        self._record_row(pass_index, case, outcome, node)
        self._with_row.add(case)
        self.monitor.results.add(pass_index, case, outcome)
        backend, once_s = self.backends[case.backend], 0.0
        if backend.compile_s and not backend.compiles_per_problem:  # later cases need no time
            once_s = (outcome.prepare_s or 0.0) + (outcome.first_call_s or 0.0)
        self.countdown.tick(case, once_s / max(1, len(self.environment.nodes)))
        self.last_case = case


def total_progress(queues: Sequence[GroupQueue]) -> Progress:
    """Return the progress of all environments together; the slowest one sets the time left."""
    adaptive = any(queue.environment.request.adaptive for queue in queues)
    left_s = [queue.remaining_s for queue in queues]
    return Progress(
        done=sum(queue.countdown.done for queue in queues),
        total=None if adaptive else sum(queue.countdown.total for queue in queues),
        case=queues[-1].last_case,
        remaining_s=max((seconds for seconds in left_s if seconds is not None), default=None),
    )
