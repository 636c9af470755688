"""No acknowledged row is lost, none is there twice, and no changed bit is ever read as a number."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from convsweep.results.schema import Row
from convsweep.results.store import MEASUREMENTS
from tests.support.crashing_runs import ROWS, acknowledged, blocks, go_on, row
from tests.support.row_factory import (
    VARIED,
    completed_rows,
    load_rows,
    refusal,
    resumed,
    write,
    write_text,
)
from tests.support.samples import load_samples

ROOT = Path(__file__).parents[2]


def killed(tmp_path: Path, *arguments: str) -> list[Path]:
    """The folders of the runs that the script killed."""
    folder = tmp_path / "killed"
    folder.mkdir()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # it forks
    script = ["-m", "tests.support.crashing_runs"]
    command = [sys.executable, *script, arguments[0], str(folder), *arguments[1:]]
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
    kept = completed_rows(run_dir)
    there = len(kept)
    assert there in (len(known), len(known) + 1)
    assert kept == [row(number) for number in range(there)]
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
        rows = completed_rows(run_dir)
        assert rows == [row(number) for number in range(len(rows))]
        assert sorted(set(numbers)) == numbers
        assert set(numbers) <= set(range(len(rows)))
        assert len(rows) - len(numbers) <= 10  # one row per kill may be unreported
        assert sampled(run_dir) in (samples_of(len(rows)), samples_of(len(rows) + 1))


def cuts(content: bytes, start: int) -> list[int]:
    """Lengths from `start` on: all near a quote, a line break or the end, a tenth of the others."""
    return [
        length
        for length in range(start, len(content))
        if not (length - start) % 10
        or len(content) - length < 12
        or not {*content[length - 2 : length + 1]}.isdisjoint(b'"\n')
    ]


@pytest.mark.parametrize("last", [VARIED[1], VARIED[3]], ids=["line break", "break at its end"])
def test_a_file_cut_off_at_any_byte_of_its_last_row_keeps_all_others(
    tmp_path: Path, last: Row
) -> None:
    others = VARIED[:2]
    start = len((write(tmp_path / "others", others) / MEASUREMENTS).read_bytes())
    content = (write(tmp_path / "whole", [*others, last]) / MEASUREMENTS).read_bytes()
    for length in cuts(content, start):
        run_dir = write_text(tmp_path / "cut", content[:length])
        assert load_rows(run_dir) == others
        if length % 50 == start % 50:
            measurements = resumed(run_dir)
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
