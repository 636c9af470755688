"""Worker processes of one pass."""

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
"""Time limit for the start of a worker process, and for the inputs and reference of a problem."""

_PHASES: dict[type[Message], str] = {
    Describe: "start_s",
    Setup: "reference_s",
    Validate: "gate_s",
    WarmUp: "warm_up_s",
    Block: "timing_s",
    Finish: "gate_s",
}
"""Key of `time_spent` in environment.json per message."""


class WorkerHandle(Protocol):
    """A worker process, or a fake one in tests."""

    def ask(
        self, request: Message, limit_s: float, on_slow_call: Callable[[], None] | None = None
    ) -> Reply:
        """Return the reply of the process; as `WorkerProcess.ask`."""

    def close(self) -> None:
        """End the process at once."""


WorkerFactory = Callable[[Settings], WorkerHandle]


def start_worker(settings: Settings) -> WorkerHandle:
    """Start a worker process."""
    return WorkerProcess(settings)


def process_setup(settings: Settings, launch: WorkerFactory = start_worker) -> dict[str, object]:
    """Return cores, priority, allocator and limits of a worker process.

    Raises:
        ValueError: a worker process does not start.
    """
    process = launch(settings)
    try:
        found = process.ask(Describe(), START_LIMIT_S)
    except (WorkerTimeout, WorkerDied) as error:
        raise ValueError(f"a worker process does not start: {error}") from None
    finally:
        process.close()
    assert isinstance(found, dict), f"unexpected reply {found!r}"
    return found


class WorkerPool:
    """Worker processes of one pass by key. Each starts on its first message."""

    def __init__(
        self, settings: Settings, spent_s: dict[str, float], launch: WorkerFactory = start_worker
    ) -> None:
        self.settings = settings
        self._launch, self._spent_s = launch, spent_s
        self._processes: dict[str, WorkerHandle] = {}

    def ask(
        self,
        key: str,
        request: Message,
        limit_s: float,
        on_slow_call: Callable[[], None] | None = None,
    ) -> Reply:
        """Return the reply of the process with that key, and add its time to the phase.

        Raises:
            WorkerTimeout, WorkerDied: as `WorkerProcess.ask`.
        """
        process = self._processes.get(key) or self._start(key)
        started = monotonic()
        try:
            reply = process.ask(request, limit_s, on_slow_call)
        finally:
            self._add_time(_PHASES[type(request)], monotonic() - started)
        if isinstance(request, Validate) and isinstance(reply, Outcome):
            # Calls of the gate warm the backend up.
            self._add_time("gate_s", -reply.gate_calls_s)
            self._add_time("warm_up_s", reply.gate_calls_s)
        return reply

    def _start(self, key: str) -> WorkerHandle:
        started = monotonic()
        process = self._processes[key] = self._launch(self.settings)
        process.ask(Describe(), START_LIMIT_S)
        self._add_time("start_s", monotonic() - started)
        return process

    def _add_time(self, phase: str, seconds: float) -> None:
        self._spent_s[phase] = self._spent_s.get(phase, 0.0) + seconds

    def close(self) -> None:
        """End all processes at once."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()
