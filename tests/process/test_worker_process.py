"""A real worker process, as its parent sees it."""

import os
import signal

import pytest

from convsweep.measure.messages import Describe, Setup
from convsweep.measure.settings import Settings
from convsweep.sweep import worker_pool
from convsweep.sweep.worker_pool import WorkerProcess, WorkerTimeout


def test_a_slow_reply_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "SLOW_CALL_S", 0.0)
    calls: list[str] = []
    process = WorkerProcess(Settings())
    try:
        found = process.ask(Describe(), 60.0, lambda: calls.append("slow"))
    finally:
        process.close()
    assert isinstance(found, dict)
    assert calls == ["slow"]


def test_a_stopped_process_stalls_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_STALL_S", 1)
    stopped = WorkerProcess(Settings())
    assert isinstance(stopped.ask(Describe(), 60.0), dict)
    os.kill(stopped._process.pid, signal.SIGSTOP)
    with pytest.raises(WorkerTimeout):
        stopped.ask(Setup([b"more than any buffer holds" * 10**6]), 1.0)
