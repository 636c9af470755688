"""A row that the disk did not take: an error goes on to the caller, and the file is as it was."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.results.store import MEASUREMENTS
from tests.support.crashing_runs import go_on, row
from tests.support.row_factory import ROW, VARIED, completed_rows, load_rows, resumed


class Disk:
    """A disk with room for some bytes, that takes only a few of them at a time."""

    def __init__(self, room: int, at_once: int) -> None:
        self.room, self.at_once, self._write = room, at_once, os.write

    def write(self, descriptor: int, content: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._write(descriptor, content[: min(self.room, self.at_once)])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 7, 100, 300])
@pytest.mark.parametrize("count", [1, 3])
def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, count: int
) -> None:
    measurements = MEASUREMENTS_TABLE.open(tmp_path)
    measurements.append(ROW)
    before = (tmp_path / MEASUREMENTS).read_bytes()
    disk = Disk(room, at_once=64)
    monkeypatch.setattr(os, "write", disk.write)
    with pytest.raises(OSError, match="No space left"):
        measurements.append(*VARIED[:count], VARIED[1])
    assert (tmp_path / MEASUREMENTS).read_bytes() == before
    assert measurements.rows == 1
    disk.room = 10**6
    measurements.append(VARIED[1])
    measurements.close()
    assert load_rows(tmp_path) == [ROW, VARIED[1]]


def test_a_full_disk_at_the_start_leaves_a_run_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(100, at_once=64)
    monkeypatch.setattr(os, "write", disk.write)
    with pytest.raises(OSError, match="No space left"):
        MEASUREMENTS_TABLE.open(tmp_path)
    disk.room = 10**6
    assert len(completed_rows(tmp_path)) == 0
    measurements = resumed(tmp_path)
    measurements.append(ROW)
    measurements.close()
    assert load_rows(tmp_path) == [ROW]


@pytest.mark.parametrize("cut_fails", [False, True])
def test_a_row_that_the_disk_did_not_take_is_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_fails: bool
) -> None:
    measurements = MEASUREMENTS_TABLE.open(tmp_path)
    measurements.append(ROW)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    ftruncate = os.ftruncate
    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(os, "fsync", broken)
        cuts = iter([ftruncate, broken if cut_fails else ftruncate])
        broken_disk.setattr(os, "ftruncate", lambda *arguments: next(cuts)(*arguments))
        with pytest.raises(OSError, match="Input/output error"):
            measurements.append(VARIED[3])
    assert cut_fails or load_rows(tmp_path) == [ROW]
    measurements.append(VARIED[2])
    measurements.close()
    assert load_rows(tmp_path) == [ROW, VARIED[2]]


def test_an_interrupt_while_a_row_is_written_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = MEASUREMENTS_TABLE.open(tmp_path)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            measurements.append(ROW)
    measurements.append(VARIED[1])
    measurements.close()
    assert load_rows(tmp_path) == [VARIED[1]]


FILLED = """
import resource, signal, sys
from pathlib import Path
from tests.support.crashing_runs import go_on
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    go_on(Path(sys.argv[1]), 100, lambda number: print(number, flush=True))
except OSError as error:
    print(error.errno)
"""


def test_a_file_that_may_not_grow_keeps_the_rows_that_there_was_room_for(tmp_path: Path) -> None:
    for room in range(3000, 3500, 170):
        run_dir = tmp_path / str(room)
        found = subprocess.run(
            [sys.executable, "-c", FILLED, str(run_dir), str(room)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        *known, number = map(int, found.stdout.split())
        assert number == errno.EFBIG
        assert known
        assert load_rows(run_dir) == [row(n) for n in known]
        go_on(run_dir, 20, lambda number: None)
        assert load_rows(run_dir) == [row(n) for n in range(20)]
