"""A process that ends by any signal leaves no process and no temporary folder behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
MARK = "ABANDONED_BY"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends them on Linux")


def marked(mark: str) -> list[psutil.Process]:
    """Living processes that were started with the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether the condition holds within a minute."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("phase", ["start", "compute"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_outlives_the_process(tmp_path: Path, number: signal.Signals, phase: str) -> None:
    mark = str(tmp_path)
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.support.abandoned_processes", phase],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": mark, MARK: mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()
    parent.stdout.close()
    # itself, the server and the tracker of resources; a process that is starting has no mark yet
    assert comes_true(lambda: len(marked(mark)) >= 3)
    os.kill(parent.pid, number)
    assert parent.wait() == -number
    assert comes_true(lambda: marked(mark) == [])
    assert list(tmp_path.iterdir()) == []
