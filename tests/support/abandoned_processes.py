"""Process whose worker computes without end and has started a program; it waits to be killed.

`python -m tests.support.abandoned_processes` writes a line once the worker computes, or once the
fork server is started with the argument `start`.
"""

import ctypes
import subprocess
import sys
import time

from convsweep.system import forkserver


def compute() -> None:
    subprocess.Popen(["sh", "-c", "mktemp; exec sleep 600"], stdout=subprocess.DEVNULL)
    sys.stdout.write("computes\n")
    sys.stdout.flush()
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock


def main(phase: str) -> None:
    forkserver.PRELOAD[1:] = []  # without PyTorch
    forkserver.start()
    if phase == "start":
        sys.stdout.write("starts\n")
        sys.stdout.flush()
    else:
        from tests.support import abandoned_processes

        process = forkserver.get_context().Process(target=abandoned_processes.compute, daemon=True)
        with forkserver.isolated_start():
            process.start()
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1])
