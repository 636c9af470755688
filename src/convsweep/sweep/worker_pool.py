"""The measuring processes of a pass: started when first asked, and what their time was for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from convsweep.measure.outcome import Outcome
from convsweep.measure.worker import (
    Block,
    Describe,
    Finish,
    Message,
    Reply,
    Settings,
    Setup,
    Validate,
    WarmUp,
)
from convsweep.sweep.worker_process import WorkerDied, WorkerProcess, WorkerTimeout

START_LIMIT_S = 300.0
"""The longest that a measuring process may take to start, and for a problem's inputs and truth."""

_PHASES: dict[type[Message], str] = {
    Describe: "start_s",
    Setup: "reference_s",
    Validate: "gate_s",
    WarmUp: "warm_up_s",
    Block: "timing_s",
    Finish: "gate_s",
}
"""What each request's time is told as in environment.json."""


class WorkerHandle(Protocol):
    """A measuring process, or a fake one in tests."""

    def ask(
        self, request: Message, limit_s: float, late: Callable[[], None] | None = None
    ) -> Reply:
        """The process's answer; raises `WorkerTimeout` or `WorkerDied`, calls `late` where it takes long."""

    def close(self) -> None:
        """End it at once."""


WorkerFactory = Callable[[Settings], WorkerHandle]


def start_worker(settings: Settings) -> WorkerHandle:
    """A process of its own."""
    return WorkerProcess(settings)


def conditions(settings: Settings, launch: WorkerFactory = start_worker) -> dict[str, object]:
    """What a measuring process says of the conditions that it runs under.

    Raises:
        ValueError: none can be started.
    """
    process = launch(settings)
    try:
        found = process.ask(Describe(), START_LIMIT_S)
    except (WorkerTimeout, WorkerDied) as error:
        raise ValueError(f"no measuring process can be started: {error}") from None
    finally:
        process.close()
    assert isinstance(found, dict), f"a measuring process answered {found!r}"
    return found


class WorkerPool:
    """The measuring processes of one pass, each started when it is first asked."""

    def __init__(
        self, settings: Settings, spent_s: dict[str, float], launch: WorkerFactory = start_worker
    ) -> None:
        self.settings = settings
        self._launch, self._spent_s = launch, spent_s
        self._processes: dict[str, WorkerHandle] = {}

    def ask(
        self,
        name: str,
        request: Message,
        limit_s: float,
        late: Callable[[], None] | None = None,
    ) -> Reply:
        """What the process of that name answers; raises `WorkerTimeout` or `WorkerDied`."""
        process = self._processes.get(name) or self._start(name)
        started = monotonic()
        try:
            reply = process.ask(request, limit_s, late)
        finally:
            self._spend(_PHASES[type(request)], monotonic() - started)
        if isinstance(request, Validate) and isinstance(reply, Outcome):
            # The gate's own calls warm the backend up, its first one included.
            self._spend("gate_s", -reply.gate_calls_s)
            self._spend("warm_up_s", reply.gate_calls_s)
        return reply

    def _start(self, name: str) -> WorkerHandle:
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
