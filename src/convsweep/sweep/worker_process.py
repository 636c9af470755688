"""One measuring process seen from outside: started, asked, watched, and ended when it must be."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from convsweep.measure.worker import Message, Reply, Settings, serve
from convsweep.system.forkserver import get_context, isolated_start

SLOW_CALL_S = 1.0
"""An answer that takes longer is worth telling of while it is waited for."""
_STALL_S = 5
"""The longest that a process may take to go on with a message, once it is under way."""


class WorkerTimeout(Exception):
    """The measuring process did not answer in time, and was ended."""


class WorkerDied(Exception):
    """The measuring process has ended over a request; the text says how."""


class WorkerProcess:
    """A fresh measuring process; one that is silent for too long is ended."""

    def __init__(self, settings: Settings) -> None:
        processes = get_context()
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=serve, args=(theirs, settings), daemon=True)
        with isolated_start():
            self._process.start()
        theirs.close()
        _limit_stalls(self._connection)

    def ask(
        self, request: Message, limit_s: float, late: Callable[[], None] | None = None
    ) -> Reply:
        """The process's answer; `late` is called once where it takes more than `SLOW_CALL_S` seconds.

        Raises:
            Silent: there is none within `limit_s` seconds.
            Ended: the process has ended.
        """
        try:
            self._connection.send(request)
            if self._answers(max(0.0, limit_s), late):
                reply: Reply = self._connection.recv()
                return reply
        except BlockingIOError:  # stopped in the midst of a message
            pass
        except (EOFError, ConnectionError):
            how = self._how_it_ended()
            self.close()
            raise WorkerDied(how) from None
        self.close()
        raise WorkerTimeout

    def _answers(self, limit_s: float, late: Callable[[], None] | None) -> bool:
        """Whether there is an answer within `limit_s` seconds."""
        if late and limit_s > SLOW_CALL_S:
            if self._connection.poll(SLOW_CALL_S):
                return True
            late()
            limit_s -= SLOW_CALL_S
        return self._connection.poll(limit_s)

    def _how_it_ended(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            known = -code in set(signal.Signals)
            name = signal.Signals(-code).name if known else f"signal {-code}"
            return f"killed by {name}"
        return f"the measuring process ended with exit code {code}"

    def close(self) -> None:
        """End the process at once; more than once is no matter."""
        if self._connection.closed:
            return
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._process.close()


def _limit_stalls(connection: Connection) -> None:
    """Let sending and receiving fail where the other side is stopped and takes or gives nothing."""
    if sys.platform != "win32":  # where pipes are no sockets
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            for limit in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                end.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", _STALL_S, 0))
