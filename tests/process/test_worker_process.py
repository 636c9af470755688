"""A real worker process, as its parent sees it."""

import gc
import os
import signal
from multiprocessing.connection import Connection

import pytest

from convsweep.measure.messages import Describe, Setup
from convsweep.measure.settings import Settings
from convsweep.sweep import worker_pool
from convsweep.sweep.worker_pool import WorkerProcess, WorkerTimeout
from convsweep.system import forkserver


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


def test_a_worker_collects_garbage_though_its_server_does_not() -> None:
    context = forkserver.get_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send_garbage_collection, args=(theirs,))
    with forkserver.isolated_start():
        process.start()
    assert ours.recv()
    process.join()


def send_garbage_collection(connection: Connection) -> None:
    connection.send(gc.isenabled())
