"""A measuring process: its conditions fixed, answering its parent's requests one by one."""

from __future__ import annotations

import gc
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import perf_counter
from typing import TypeVar

import torch

from convsweep.measure.gate import setup_group
from convsweep.measure.network_timing import NetworkTimes, TimeNetwork, time_network
from convsweep.measure.outcome import Outcome, failure
from convsweep.measure.reference import PackedReference
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.timing import GroupTimer
from convsweep.problems.case import Case
from convsweep.system import process as conditions
from convsweep.system.devices import use_full_precision

_CHEAP_TRUTH_S = 0.005  # computed again sooner than sent to and fro


@dataclass(frozen=True)
class Settings:
    """What a measuring process is told once."""

    threads: int = 1
    seed: int = 0
    pass_index: int = 0
    case_timeout_s: float = 10.0
    effort: MeasurementConfig | None = field(default_factory=MeasurementConfig)
    """None: the gate alone, no timing."""
    allocator: str = "retain"
    memory_limit_bytes: int | None = None
    """The most memory that the process may take; None: as much as there is."""
    cores: tuple[int, ...] | None = None
    """Those that the process may stay on, its threads on the last ones; None: as it finds them."""


@dataclass(frozen=True)
class Describe:
    """Asks under which conditions the process runs: a dictionary."""


@dataclass(frozen=True)
class Setup:
    """Asks for a contest of these cases, the last one being over: `SetupDone`, or why it can't be."""

    cases: Sequence[Case]
    reference: PackedReference | None = None
    """What `SetupDone` gave in an earlier pass."""


@dataclass(frozen=True)
class SetupDone:
    """A contest is open; its truth where it is worth keeping."""

    reference: PackedReference | None


@dataclass(frozen=True)
class Validate:
    """Asks for the gate's word on the case at this index: an `Outcome`."""

    index: int


@dataclass(frozen=True)
class WarmUp:
    """Asks to warm an admitted case up: how many blocks it wants, or an `Outcome`."""

    index: int
    yield_turn: bool = False
    """Whether another process has the next turn."""


@dataclass(frozen=True)
class Block:
    """Asks to time one block: None, or an `Outcome` where that failed."""

    index: int
    yield_turn: bool = False
    """Whether another process has the next turn."""


@dataclass(frozen=True)
class Finish:
    """Asks what was measured: an `Outcome`."""

    index: int


Message = Describe | Setup | Validate | WarmUp | Block | Finish | TimeNetwork
_Step = TypeVar("_Step", int | Outcome, Outcome | None)
Reply = dict[str, object] | SetupDone | Outcome | NetworkTimes | int | None


def serve(connection: Connection, settings: Settings) -> None:
    """Answer requests until the connection closes; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends this process
    worker = Worker(settings)
    try:
        with torch.no_grad():
            while True:
                request = connection.recv()
                try:
                    connection.send(worker.answer(request))
                except MemoryError as error:  # a backend left too little to tell of it
                    conditions.use_spare_memory()
                    connection.send(failure(error))
    except (EOFError, ConnectionError):
        return


class Worker:
    """A measuring process from within."""

    def __init__(self, settings: Settings) -> None:
        conditions.end_with_parent()
        retain = settings.allocator == "retain"
        self._conditions: dict[str, object] = {
            "allocator": conditions.retain_memory() if retain else "system",
            "cores": conditions.pin(settings.threads, settings.cores),
            "niceness": conditions.take_priority(),
            "address_randomization": conditions.address_randomization(),
            "memory_limit_bytes": settings.memory_limit_bytes,
        }
        conditions.limit_memory(settings.memory_limit_bytes)
        conditions.fix_threads(settings.threads)
        use_full_precision()
        gc.freeze()  # what the imports made is never garbage, and looking it over takes 0.1 s
        self._kept = conditions.randomize_heap_layout(random.Random(settings.seed))
        self._settings = settings
        self._stage: GroupTimer | None = None

    def answer(self, request: Message) -> Reply:
        """The reply to one request; what a backend does wrong is an outcome, never an exception."""
        if isinstance(request, Describe):
            return self._conditions
        if isinstance(request, Setup):
            return self._open(request)
        if isinstance(request, TimeNetwork):
            return _time_network(request)
        assert self._stage is not None, "no contest is open"
        match request:
            case Validate(index):
                return self._stage.validate(index)
            case WarmUp(index, yield_turn):
                return _yield_turn(self._stage.warm_up(index), yield_turn)
            case Block(index, yield_turn):
                return _yield_turn(self._stage.time_block(index), yield_turn)
            case Finish(index):
                return self._stage.finish(index)

    def _open(self, request: Setup) -> SetupDone | Outcome:
        self._stage = None  # its tensors make room
        known, started = request.reference, perf_counter()
        try:
            contest = setup_group(
                request.cases,
                case_timeout_s=self._settings.case_timeout_s,
                effort=self._settings.effort,
                truth=known.unpack() if known else None,
                is_first=self._settings.pass_index == 0,
            )
        except Exception as error:
            return failure(error)
        self._stage = GroupTimer(contest)
        costly = perf_counter() - started > _CHEAP_TRUTH_S
        return SetupDone(PackedReference.pack(contest.truth) if costly and not known else None)


def _yield_turn(reply: _Step, rest: bool) -> _Step:
    """The reply, once no thread of this process takes time from another's turn."""
    if rest:
        conditions.wait_until_idle()
    return reply


def _time_network(request: TimeNetwork) -> NetworkTimes | Outcome:
    try:
        return time_network(request)
    except Exception as error:
        return failure(error)
