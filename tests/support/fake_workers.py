"""Fake worker processes of a scheduler, which answer its messages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from convsweep import Backend
from convsweep.measure.messages import (
    Block,
    DataFile,
    Describe,
    Message,
    Reply,
    Setup,
    SetupDone,
    WarmUp,
)
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.sweep.first_pass import FirstPassData
from convsweep.sweep.scheduler import Scheduler
from convsweep.sweep.worker_pool import WorkerPool

BACKENDS = {name: Backend(name, lambda problem, weights: None) for name in "abc"}


CASES = cross(GRIDS["smoke"].layers()[:1], tuple(BACKENDS))


A, B, C = CASES
GROUPS = [cross([layer], tuple(BACKENDS)) for layer in GRIDS["smoke"].layers()[:3]]


BATCH = [case for group in GROUPS for case in group]


FILE = DataFile("data.pt", 64)


OK = Outcome("ok", first_call_s=1.0, gate_calls_s=0.25, accepted=b"bits")


Answer = Callable[[Message, Case | None], Reply]


def answer(request: Message, case: Case | None) -> Reply:
    """What a process says where nothing goes wrong."""
    match request:
        case Describe():
            return {"cores": [1]}
        case Setup(_, file):
            return SetupDone(None if file else FILE)
        case WarmUp():
            return 3
        case Block():
            return None
    return OK


@dataclass
class Scene:
    """Fake processes, and every request with the number of its process and its case."""

    answer: Answer = answer
    started: list[Settings] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    requests: list[tuple[int, Message, Case | None]] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)
    """What each of these may take, in seconds."""
    spent_s: dict[str, float] = field(default_factory=dict)
    first: FirstPassData = field(default_factory=FirstPassData)
    budget_left_s: Callable[[], float] = field(default=lambda: math.inf)
    should_stop: Callable[[], bool] = field(default=lambda: False)

    def launch(self, settings: Settings) -> "FakeProcess":
        self.started.append(settings)
        return FakeProcess(self, len(self.started) - 1)

    def measure(
        self,
        cases: Sequence[Case] = CASES,
        backends: dict[str, Backend] = BACKENDS,
        settings: Settings | None = None,
    ) -> dict[Case, Outcome]:
        pool = WorkerPool(settings or Settings(), self.spent_s, self.launch)
        scheduler = Scheduler(pool, backends, self.first)
        outcomes = list(scheduler.measure(cases, self.budget_left_s, self.should_stop))
        scheduler.close()
        assert len({case for case, _ in outcomes}) == len(outcomes)
        return dict(outcomes)

    def steps(self, kind: type[Message]) -> list[Case | None]:
        return [case for _, request, case in self.requests if isinstance(request, kind)]


@dataclass
class FakeProcess:
    scene: Scene
    number: int
    cases: Sequence[Case] = ()

    def ask(self, request: Message, limit_s: float, on_slow_call: object = None) -> Reply:
        if isinstance(request, Setup):
            self.cases = [*request.cases] if request.first else [*self.cases, *request.cases]
        case = self.cases[request.index] if hasattr(request, "index") else None
        self.scene.requests.append((self.number, request, case))
        self.scene.limits_s.append(limit_s)
        return self.scene.answer(request, case)

    def release(self) -> None:
        """Ends in `close`."""

    def close(self) -> None:
        self.scene.closed.add(self.number)


def failing(kind: type[Message], at: Case | None, how: Exception | Outcome) -> Answer:
    """As usual, but for one step of one case."""

    def answers(request: Message, case: Case | None) -> Reply:
        if isinstance(request, kind) and case == at:
            if isinstance(how, Exception):
                raise how
            return how
        return answer(request, case)

    return answers
