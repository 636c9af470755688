"""No acknowledged row is lost, none is there twice, and no changed bit is ever read as a number."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import ROWS, acknowledged, blocks, go_on, row
from stored import ROW, load_rows, refusal, rows_of, write, write_text

from convsweep.lock import LOCK, locked
from convsweep.samples import load_samples
from convsweep.store import MEASUREMENTS, Measurements, Row, recorded, refuse_unless_new

SCRIPT = Path(__file__).with_name("killed_runs.py")
VARIED = [
    ROW,
    replace(ROW, backend="im2col", reason='over\ntwo lines, with "quotes"', load=0.5, count=7),
    replace(ROW, status="skipped", median_s=None, reason="needs 1, 2 and 3", flags="drift"),
    replace(ROW, layer="β", reason="ends\n", median_s=0.1 + 0.2, cache="cold"),
]


def killed(tmp_path: Path, *arguments: str) -> list[Path]:
    """The folders of the runs that the script killed."""
    folder = tmp_path / "killed"
    folder.mkdir()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # it forks
    command = [sys.executable, str(SCRIPT), arguments[0], str(folder), *arguments[1:]]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (found.returncode, found.stderr) == (0, "")
    return [folder / name for name in found.stdout.split()]


def sampled(run_dir: Path) -> list[tuple[int, int, float]]:
    return list(load_samples(run_dir).itertuples(index=False, name=None))


def samples_of(rows: int) -> list[tuple[int, int, float]]:
    return [
        (number, block, seconds)
        for number in range(rows)
        for block, samples in enumerate(blocks(number))
        for seconds in samples
    ]


def check_killed(run_dir: Path, rows_in_the_end: int) -> int:
    """All that must hold of a run that was killed; the rows that it acknowledged."""
    known = acknowledged(run_dir)
    assert known == list(range(len(known)))
    there = len(recorded(run_dir))
    assert there in (len(known), len(known) + 1)
    assert rows_of(recorded(run_dir)) == [row(number) for number in range(there)]
    assert sampled(run_dir) in (samples_of(there), samples_of(there + 1))
    go_on(run_dir, rows_in_the_end, lambda number: None)
    assert load_rows(run_dir) == [row(number) for number in range(rows_in_the_end)]
    assert sampled(run_dir) == samples_of(rows_in_the_end)
    return len(known)


def test_a_run_killed_in_any_call_has_every_acknowledged_row_once(tmp_path: Path) -> None:
    runs = killed(tmp_path, "points")
    seen = Counter(check_killed(run_dir, ROWS + 1) for run_dir in runs)
    assert set(seen) == set(range(ROWS))


def test_a_resumed_run_killed_in_any_call_has_every_acknowledged_row_once(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    go_on(begun, 3, lambda number: None)
    path = begun / MEASUREMENTS
    path.write_bytes(path.read_bytes()[:-20])  # of three rows the last is torn
    begun.with_suffix(".acknowledged").write_text("0\n1\n")
    runs = killed(tmp_path, "points", str(begun))
    seen = Counter(check_killed(run_dir, ROWS + 1) for run_dir in runs)
    assert set(seen) == {2, 3}


def test_a_run_killed_at_random_moments_has_every_acknowledged_row_once(tmp_path: Path) -> None:
    runs = killed(tmp_path, "moments", "20261123")
    assert len(runs) == 20
    for run_dir in runs:
        numbers = acknowledged(run_dir)
        rows = rows_of(recorded(run_dir))
        assert rows == [row(number) for number in range(len(rows))]
        assert sorted(set(numbers)) == numbers
        assert set(numbers) <= set(range(len(rows)))
        assert len(rows) - len(numbers) <= 10  # one a kill may be there that nobody was told of
        assert sampled(run_dir) in (samples_of(len(rows)), samples_of(len(rows) + 1))


@pytest.mark.parametrize("last", [VARIED[1], VARIED[3]], ids=["line break", "break at its end"])
def test_a_file_cut_off_at_any_byte_of_its_last_row_keeps_all_others(
    tmp_path: Path, last: Row
) -> None:
    others = VARIED[:2]
    start = len((write(tmp_path / "others", others) / MEASUREMENTS).read_bytes())
    content = (write(tmp_path / "whole", [*others, last]) / MEASUREMENTS).read_bytes()
    for length in range(start, len(content)):
        run_dir = write_text(tmp_path / "cut", content[:length])
        assert load_rows(run_dir) == others
        if length % 50 == 0:
            measurements = Measurements(run_dir, resume=True)
            measurements.append(last)
            measurements.close()
            assert (run_dir / MEASUREMENTS).read_bytes() == content


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_is_refused_or_takes_the_last_line_and_is_never_read(tmp_path: Path) -> None:
    content = (write(tmp_path, VARIED) / MEASUREMENTS).read_bytes()
    bits = random.Random(3).sample(range(8 * len(content)), 1_000)
    outcomes: Counter[str] = Counter()
    for bit in bits:
        write_text(tmp_path, flipped(content, bit))
        try:
            rows = load_rows(tmp_path)
        except ValueError:
            outcomes["refused"] += 1
            continue
        assert rows in (VARIED, VARIED[:-1])
        outcomes[f"{len(rows)} rows"] += 1
    assert outcomes["refused"] >= 990


def test_a_flipped_bit_in_the_header_or_a_quote_is_refused(tmp_path: Path) -> None:
    content = (write(tmp_path, VARIED) / MEASUREMENTS).read_bytes()
    head = [8 * place + place % 8 for place in range(content.index(b"\n") + 1)]
    ends = [place for place, byte in enumerate(content) if byte in b'"\n'][:-1]
    for bit in [*head, *(8 * place + bit for place in ends for bit in range(8))]:
        refusal(write_text(tmp_path, flipped(content, bit)))


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
    measurements = Measurements(tmp_path)
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
        Measurements(tmp_path)
    disk.room = 10**6
    assert len(recorded(tmp_path)) == 0
    measurements = Measurements(tmp_path, resume=True)
    measurements.append(ROW)
    measurements.close()
    assert load_rows(tmp_path) == [ROW]


@pytest.mark.parametrize("cut_fails", [False, True])
def test_a_row_that_the_disk_did_not_take_is_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_fails: bool
) -> None:
    measurements = Measurements(tmp_path)
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
    measurements = Measurements(tmp_path)
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
from killed_runs import go_on
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
            cwd=SCRIPT.parent,
        )
        *known, number = map(int, found.stdout.split())
        assert number == errno.EFBIG
        assert known
        assert load_rows(run_dir) == [row(n) for n in known]
        go_on(run_dir, 20, lambda number: None)
        assert load_rows(run_dir) == [row(n) for n in range(20)]


HOLDER = """
import sys
from pathlib import Path
from convsweep.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refused_lock(run_dir: Path) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused, locked(run_dir):
        pass
    assert repr(str(run_dir)) in str(refused.value)
    return str(refused.value)


def test_a_second_run_on_one_folder_is_refused(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    told = refused_lock(tmp_path / "run")
    assert told.endswith(f"is being written by another run (process {holder.pid})")
    assert refused_lock(tmp_path / "run") == told
    with locked(tmp_path / "another"):
        pass


@pytest.mark.parametrize("end", ["killed", "finished"])
def test_a_lock_ends_with_its_holder(
    tmp_path: Path, holder: subprocess.Popen[str], end: str
) -> None:
    holder.kill() if end == "killed" else holder.stdin.close()
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists() == (end == "killed")
    refuse_unless_new(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert "being written" in refused_lock(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("content", ["", "words", "1" * 30, "\0"])
def test_a_lock_that_does_not_say_whose_it_is_holds_too(
    tmp_path: Path, holder: subprocess.Popen[str], content: str
) -> None:
    (tmp_path / "run" / LOCK).write_text(content)
    assert refused_lock(tmp_path / "run").endswith("by another run")


def test_no_lock_is_taken_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "can't be written" in refused_lock(run_dir)


def test_an_exception_gives_the_lock_back(tmp_path: Path) -> None:
    with suppress(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass
