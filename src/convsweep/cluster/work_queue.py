"""One kind of hardware's share of a sweep: what it is to do next, and what has come of it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from convsweep.cluster.node_groups import NodeGroup
from convsweep.cluster.pool import TaskHandle, TaskLost
from convsweep.cluster.tasks import Measured, Timed
from convsweep.measure.outcome import Outcome, utc_now
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.sweep.forecast import Countdown, case_s, visits
from convsweep.sweep.network_runs import Network, NetworkRunner
from convsweep.sweep.runner import PassResults, SweepState, by_macs, group_cases
from convsweep.sweep.stopping import SweepMonitor

RETRIES = 3
"""How often a group of cases is tried again whose node or process there has died."""
NODES_LOST = "nodes_lost"
"""How a share has ended whose nodes have all gone."""

Record = Callable[[int, Case, Outcome, str | None], None]
"""Told of a pass, a case, its outcome, and the name of the node that it comes from."""


@dataclass(frozen=True)
class TaskLoss:
    """One time that a group was lost with its node or process."""

    at: str
    pass_index: int
    what: str
    """The group's problem, or the network."""
    attempt: int
    """Counted from 1; beyond `RETRIES` it was the last."""
    reason: str


@dataclass
class Task:
    """One group of cases, or one network, in one pass."""

    pass_index: int
    settings: Settings
    cases: Sequence[Case] = ()
    network: Network | None = None
    attempts: int = 0
    """How often it was lost."""

    @property
    def what(self) -> str:
        """The problem or the network, in a word."""
        return self.network.name if self.network else self.cases[0].problem.label


class GroupQueue:
    """One kind's share of the sweep: what it is to do next, and what has come of it."""

    def __init__(
        self,
        kind: NodeGroup,
        settings: Settings,
        stopping: SweepMonitor,
        networks: NetworkRunner,
        record: Record,
        known: PassResults,
    ) -> None:
        self.kind, self.stopping = kind, stopping
        self.in_flight = 0
        self.phases_s: dict[str, float] = {}
        """Where the nodes' time went."""
        self.losses: list[TaskLoss] = []
        self._settings, self._networks, self._record = settings, networks, record
        request = kind.request
        self._cases, self._backends = request.every_case, request.every_backend
        self._book = SweepState(self._backends, settings, known, {})
        self._rng = random.Random(settings.seed)
        self._due = {case: visits(case, request.passes) for case in self._cases}
        forecast = {case: case_s(case, self._backends, settings) for case in self._cases}
        self.countdown = Countdown(forecast, self._due)
        self.last = self._cases[0]
        self._names = {node.id: node.name for node in kind.nodes}
        self._again: deque[Task] = deque()
        self._coming = self._works()
        self._ended = False

    @property
    def is_adaptive(self) -> bool:
        """Whether cases drop out once their answer is settled."""
        return self.kind.request.adaptive

    def next(self) -> Task | None:
        """What to do now; None where something in flight has to end first, or all is done."""
        if self._ended:
            return None
        if self._again:
            return self._again.popleft()
        if self.stopping.now():
            self._ended = True
            return None
        work = next(self._coming, None)
        if work is None and not self.in_flight:
            self._ended = True
        return work

    def _works(self) -> Iterator[Task | None]:
        """All work, pass by pass; None for as long as a pass has to wait for the one before."""
        request = self.kind.request
        for pass_index in range(request.passes):
            # What the first pass settles is not tried again; a budget looks after every pass.
            while (pass_index == 1 or request.adaptive) and (self.in_flight or self._again):
                yield None
            worth = self.stopping.active_cases(pass_index)
            if worth is not None and not worth:
                return
            for network in self._networks.due(pass_index):
                yield Task(pass_index, self._settings, network=network)
            for group in self._groups(pass_index, worth):
                if waiting := self._divide(pass_index, group):
                    yield self._work(pass_index, waiting)

    def _groups(self, pass_index: int, worth: Collection[Case] | None) -> list[list[Case]]:
        """Small ones first, so that large ones can be predicted; later in random order."""
        due = [case for case in self._cases if pass_index < self._due[case]]
        groups = group_cases(case for case in due if worth is None or case in worth)
        groups.sort(key=by_macs)
        if pass_index:
            self._rng.shuffle(groups)
        return groups

    def _divide(self, pass_index: int, group: Sequence[Case]) -> list[Case]:
        """Put down what of a group is settled; the rest has to be measured."""
        told, waiting = self._book.divide(pass_index, group)
        for case, outcome in told:
            self._put(pass_index, case, outcome, None)
        return waiting

    def _work(self, pass_index: int, cases: Sequence[Case]) -> Task:
        seed, threads = self._rng.randrange(2**32), cases[0].threads
        own = replace(self._settings, threads=threads, seed=seed, pass_index=pass_index)
        return Task(pass_index, own, cases)

    def accept(self, work: Task, visit: TaskHandle) -> None:
        """Put down what a node has answered."""
        node = self._names.get(visit.node_id, visit.node_id)
        if isinstance(visit.value, Timed):
            assert work.network is not None
            timed = visit.value
            self._networks.add(work.network, work.pass_index, timed.found, timed.spent_s)
            return
        assert isinstance(visit.value, Measured), f"node {node} answered {visit.value!r}"
        for phase, seconds in visit.value.phases_s.items():
            self.phases_s[phase] = self.phases_s.get(phase, 0.0) + seconds
        for case, outcome in visit.value.outcomes:
            self._book.learn(case, outcome)
            self._put(work.pass_index, case, outcome, node)

    def retry(self, work: Task, lost: TaskLost) -> None:
        """Try it again, on whichever of the kind's nodes is free; or tell that it won't go on."""
        self._note(work, lost)
        if work.attempts <= RETRIES:
            self._again.append(work)
            return
        reason = f"lost {work.attempts} times with its node or process, at last {lost.reason}"
        outcome = Outcome("crash", reason)
        if work.network is not None:
            self._networks.add(work.network, work.pass_index, outcome, 0.0)
        for case in work.cases:
            self._book.learn(case, outcome)
            self._put(work.pass_index, case, outcome, None)

    def give_up(self, work: Task, lost: TaskLost) -> None:
        """No node of the kind is left."""
        self._note(work, lost)
        self._ended = True
        self.stopping.ended = NODES_LOST

    def _note(self, work: Task, lost: TaskLost) -> None:
        """Count one more loss of the work."""
        work.attempts += 1
        loss = TaskLoss(utc_now(), work.pass_index, work.what, work.attempts, lost.reason)
        self.losses.append(loss)

    def _put(self, pass_index: int, case: Case, outcome: Outcome, node: str | None) -> None:
        self._record(pass_index, case, outcome, node)
        self.countdown.tick(case)
        self.last = case
