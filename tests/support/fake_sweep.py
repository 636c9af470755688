"""A sweep of fake worker processes, which measure nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convsweep import Backend
from convsweep.measure.messages import (
    Describe,
    Finish,
    Message,
    NetworkTimes,
    Reply,
    Setup,
    SetupDone,
    TimeNetwork,
    Validate,
    WarmUp,
)
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.sweep.environment import Environment
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.stopping import PassResults, SweepMonitor
from convsweep.sweep.work_queue import GroupQueue, Progress
from convsweep.sweep.worker_pool import WorkerDied, WorkerTimeout

Behaviour = Callable[[Case], Outcome]


def ok(case: Case) -> Outcome:
    return Outcome("ok", median_s=1e-4, time_s=1e-4, first_call_s=1e-4)


@dataclass
class Fakes:
    """Fake worker processes, and their requests."""

    behave: Behaviour = ok
    started: list[Settings] = field(default_factory=list)
    slow: Collection[Case] = ()
    """Cases with slow first calls."""
    closed: int = 0
    warmed_up_among: list[int] = field(default_factory=list)
    """Number of processes that have not ended, at each warm-up."""
    measured: list[tuple[int, Case]] = field(default_factory=list)

    def launch(self, settings: Settings) -> "FakeProcess":
        self.started.append(settings)
        return FakeProcess(self, len(self.started) - 1)


@dataclass
class FakeProcess:
    fakes: Fakes
    number: int
    cases: Sequence[Case] = ()

    def ask(
        self, request: Message, limit_s: float, on_slow_call: Callable[[], None] | None = None
    ) -> Reply:
        match request:
            case Describe():
                return {}
            case TimeNetwork():
                return NetworkTimes(0.02, 0.021, 3, ())
            case Setup(cases, _, first):
                self.cases = [*cases] if first else [*self.cases, *cases]
                return SetupDone(None)
            case WarmUp():
                self.fakes.warmed_up_among.append(len(self.fakes.started) - self.fakes.closed)
                return 2
            case Finish(index):
                return self.fakes.behave(self.cases[index])
            case Validate(index):
                if on_slow_call and self.cases[index] in self.fakes.slow:
                    on_slow_call()
                return self.admitted(self.cases[index])
        return None  # a block

    def admitted(self, case: Case) -> Outcome:
        self.fakes.measured.append((self.number, case))
        outcome = self.fakes.behave(case)
        if outcome.status == "crash":
            raise WorkerDied(str(outcome.reason))
        if outcome.status == "timeout":
            raise WorkerTimeout
        return outcome

    def release(self) -> None:
        """Ends in `close`."""

    def close(self) -> None:
        self.fakes.closed += 1


BACKENDS = {name: Backend(name, lambda problem, weights: None) for name in ("a", "b")}


CASES = cross(GRIDS["quick"].layers(), tuple(BACKENDS))


class OpenMonitor(SweepMonitor):
    """Stops and drops cases as a test wants."""

    stop: Callable[[], bool] = staticmethod(lambda: False)
    active: Callable[[int], Collection[Case] | None] = staticmethod(lambda pass_index: None)

    def should_stop(self) -> bool:
        return self.stop()

    def active_cases(self, pass_index: int, *, auxiliary: bool = True) -> Collection[Case] | None:
        return self.active(pass_index)


def request_for(cases: Sequence[Case], backends: Mapping[str, Backend], passes: int) -> Request:
    plain = read_request(Options(grid="smoke", backends=("loop",), passes=passes, ceilings=False))
    return replace(plain, cases=cases, backends=backends, separable_parts=())


@dataclass
class Swept:
    fakes: Fakes
    rows: list[tuple[int, Case, Outcome]] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)


def swept(
    behave: Behaviour = ok,
    *,
    cases: Sequence[Case] = CASES,
    backends: Mapping[str, Backend] = BACKENDS,
    passes: int = 3,
    settings: Settings | None = None,
    slow: Collection[Case] = (),
    known: PassResults | None = None,
    **monitored: Any,
) -> Swept:
    """A sweep of fake worker processes; `monitored` are `stop` and `active` of `OpenMonitor`."""
    found = Swept(Fakes(behave, slow=slow))
    request = request_for(cases, backends, passes)
    monitor = OpenMonitor(request)
    vars(monitor).update(monitored)
    queue = GroupQueue(
        Environment(request, {}),
        settings or Settings(),
        monitor,
        lambda *row: found.rows.append(row[:3]),
        known=known,
    )
    LocalExecutor(request, found.fakes.launch).run([queue], found.progress.append)
    return found
