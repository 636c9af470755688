"""End of a fork server, with all that it has started, when the process that it serves has ended.

By multiprocessing's own rule a server outlives its last child, which may compute for minutes.
Importing this module sets the guard up, because a server runs no other code than its preload.
"""

import gc
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import sleep

from convsweep.descriptors import c_library
from convsweep.system.forkserver import FOLDER, SERVED

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ATTEMPTS, _WAIT_S = 20, 0.05  # a process may start another one before it is killed


def _guard(served: int) -> None:
    """End this process after `served`, its parent; children end at once with this process."""
    server = os.getpid()

    def end(*_: object) -> None:
        for _attempt in range(_ATTEMPTS):
            left = _descendants(served)
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
            if not left and not Path(os.environ[FOLDER]).exists():
                break
            sleep(_WAIT_S)
        os._exit(0)

    def begin_child() -> None:
        gc.enable()
        if os.getppid() == server:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setpgid(0, 0)  # to end it together with its compilers
            _end_after(server, signal.SIGKILL)

    gc.disable()  # takes a fifth of the imports
    tempfile.gettempdir()  # is kept for Python; only compilers get the new one
    os.environ["TMPDIR"] = os.environ[FOLDER]
    os.setpgid(0, 0)  # signals of a terminal are for the served process
    signal.signal(signal.SIGTERM, end)
    os.register_at_fork(after_in_child=begin_child)
    _end_after(served, signal.SIGTERM)


def _end_after(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent ends; macOS cannot."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            c_library().prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _descendants(served: int) -> list[int]:
    """Return the other processes with this server's variables; none without `/proc`."""
    mark, found = f"{SERVED}={served}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes() and (pid := int(path.parent.name)) != os.getpid():
                found.append(pid)
    return found


if sys.platform != "win32":
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    if process := os.environ.get(SERVED):
        _guard(int(process))
