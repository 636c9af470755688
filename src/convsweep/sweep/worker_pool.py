"""Worker processes of one pass, as their parent sees them."""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from time import monotonic

from convsweep.measure import messages
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.system import forkserver

START_LIMIT_S = 300.0
"""Time limit for the start of a worker process, and for the inputs and reference of a problem."""
SLOW_CALL_S = 1.0  # a reply that takes longer is reported as a slow call
_STALL_S = 5  # time limit for the rest of a message once its first bytes are sent
PHASES: dict[type[messages.Message], str] = {
    messages.Describe: "start_s",
    messages.Setup: "reference_s",
    messages.Validate: "gate_s",
    messages.WarmUp: "warm_up_s",
    messages.Block: "timing_s",
    messages.Finish: "gate_s",
    messages.Explain: "timing_s",
    messages.TimeNetwork: "networks_s",
}
"""Key of `time_spent` in environment.json per message."""
TRACE = "trace_s"  # key of the part of `Finish` or `Validate` that finds the implementation

ProcessKey = tuple[int, str]
"""Number of threads, and the backend that has a process of its own; empty for the others."""


class WorkerTimeout(Exception):
    """The worker process did not reply in time, and was killed."""


class WorkerDied(Exception):
    """The worker process ended during a request; the text contains the signal or exit code."""


def _serve(connection: Connection, settings: Settings) -> None:
    """Run a worker process; its parent needs no torch."""
    from convsweep.measure.worker import serve

    serve(connection, settings)


class WorkerProcess:
    """A fresh worker process, killed if it does not reply in time."""

    def __init__(self, settings: Settings) -> None:
        context = forkserver.get_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        with forkserver.isolated_start():
            self._process.start()
        theirs.close()
        self.pid, self._idle, self._ended = self._process.pid, True, False
        _limit_stalls(self._connection)

    def ask(
        self,
        request: messages.Message,
        limit_s: float,
        on_slow_call: Callable[[], None] | None = None,
    ) -> messages.Reply:
        """Return the reply; call `on_slow_call` once after `SLOW_CALL_S` seconds.

        Raises `WorkerTimeout` without a reply within `limit_s` seconds, `WorkerDied` if the
        process has ended.
        """
        self._idle = False
        try:
            self._connection.send(request)
            limit_s = max(0.0, limit_s)
            if on_slow_call and limit_s > SLOW_CALL_S and not self._connection.poll(SLOW_CALL_S):
                on_slow_call()
                limit_s -= SLOW_CALL_S
            if self._connection.poll(limit_s):
                reply: messages.Reply = self._connection.recv()
                self._idle = True
                return reply
        except BlockingIOError:  # stopped in the middle of a message
            pass
        except (EOFError, ConnectionError):
            reason = forkserver.exit_reason(self._process, "worker")
            self.close()
            raise WorkerDied(reason) from None
        self.close()
        raise WorkerTimeout

    def release(self) -> None:
        """Let an idle process end by itself, which takes 15 ms; `close` has to follow."""
        self._connection.close()

    def close(self) -> None:
        """End the process, which is killed if it computes; repeated calls do nothing."""
        if not self._ended:
            self._ended = True
            self._connection.close()
            forkserver.end(self._process, idle=self._idle)


WorkerFactory = Callable[[Settings], WorkerProcess]


def _limit_stalls(connection: Connection) -> None:
    """Make sending and receiving fail if the other side is stopped."""
    if sys.platform != "win32":  # pipes are not sockets there
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            for limit in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                end.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", _STALL_S, 0))


def process_setup(settings: Settings, launch: WorkerFactory = WorkerProcess) -> dict[str, object]:
    """Return cores, priority, allocator and limits of a worker process, if it starts."""
    with closing(launch(settings)) as process:
        try:
            found = process.ask(messages.Describe(), START_LIMIT_S)
        except (WorkerTimeout, WorkerDied) as error:
            raise ValueError(f"a worker process does not start: {error}") from None
    assert isinstance(found, dict), f"unexpected reply {found!r}"
    return found


def add_seconds(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the sum of seconds per phase."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


class WorkerPool:
    """Worker processes of one pass by key. Each starts on its first message.

    Those of the pass `before` end while these start, and before any of these is warmed up.
    """

    def __init__(
        self,
        settings: Settings,
        spent_s: dict[str, float],
        launch: WorkerFactory = WorkerProcess,
        before: "WorkerPool | None" = None,
    ) -> None:
        self.settings = settings
        self._launch, self._spent_s, self._before = launch, spent_s, before
        self._processes: dict[ProcessKey, WorkerProcess] = {}
        self._starting: set[ProcessKey] = set()
        if before is not None:
            before.release()
            self._start(before.keys)

    @property
    def keys(self) -> list[ProcessKey]:
        """Keys of the processes that have started."""
        return [*self._processes]

    def _start(self, keys: Iterable[ProcessKey]) -> None:
        """Start processes without waiting for them."""
        started = monotonic()
        for key in keys:
            self._processes[key] = self._launch(replace(self.settings, threads=key[0]))
            self._starting.add(key)
        self._add_time("start_s", monotonic() - started)

    def ask(
        self,
        key: ProcessKey,
        request: messages.Message,
        limit_s: float,
        on_slow_call: Callable[[], None] | None = None,
    ) -> messages.Reply:
        """Return the reply of the process with that key, and add its time to the phase."""
        if isinstance(request, messages.WarmUp):
            self._close_before()
        if key not in self._processes:
            self._start([key])
        process, started = self._processes[key], monotonic()
        if key in self._starting:
            self._starting.remove(key)
            process.ask(messages.Describe(), limit_s)
            self._add_time("start_s", monotonic() - started)
            started = monotonic()
        try:
            reply = process.ask(request, limit_s, on_slow_call)
        finally:
            self._add_time(PHASES[type(request)], monotonic() - started)
        if isinstance(request, messages.Validate) and isinstance(reply, Outcome):
            # Calls of the gate warm the backend up.
            self._add_time("gate_s", -reply.gate_calls_s)
            self._add_time("warm_up_s", reply.gate_calls_s)
        if isinstance(reply, Outcome):
            self._add_time("gate_s", -reply.trace_s)
            self._add_time(TRACE, reply.trace_s)
        return reply

    def _add_time(self, phase: str, seconds: float) -> None:
        self._spent_s[phase] = self._spent_s.get(phase, 0.0) + seconds

    def release(self) -> None:
        """Let all processes end; they must be idle."""
        for process in self._processes.values():
            process.release()

    def _close_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None

    def close(self) -> None:
        """End all processes at once."""
        self._close_before()
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        self._starting.clear()
