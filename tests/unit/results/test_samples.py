"""Every sample behind every row comes back, from a file that may end anywhere."""

import gzip
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convsweep.results import samples
from convsweep.results.samples import HEADER, SAMPLES, SampleWriter
from tests.support.samples import load_samples

Blocks = list[list[float]]

random_seconds = random.Random(7)
BLOCKS: dict[int, Blocks] = {
    0: [[0.1 + 0.2, 5e-324, 1.7976931348623157e308], [1 / 3]],
    1: [[1e-6 * random_seconds.random() for _ in range(20)] for _ in range(10)],
    3: [[], [2.0**-40]],
    4: [[np.float64(1e-9)]],
}


def keep(run_dir: Path, blocks: dict[int, Blocks], kept_rows: int | None = None) -> Path:
    kept = SampleWriter(run_dir, kept_rows)
    for number, samples_of_row in blocks.items():
        kept.append(number, samples_of_row)
    kept.close()
    return run_dir


def read(run_dir: Path) -> dict[int, Blocks]:
    """The samples by row, as they were appended; an empty block leaves no trace but its place."""
    found: dict[int, Blocks] = {}
    for row, block, seconds in load_samples(run_dir).itertuples(index=False, name=None):
        blocks = found.setdefault(row, [])
        blocks += [[] for _ in range(block + 1 - len(blocks))]
        blocks[block].append(seconds)
    return found


def refusal(run_dir: Path) -> str:
    with pytest.raises(ValueError, match=r"is not a samples file: ") as refused:
        load_samples(run_dir)
    assert str(refused.value).isprintable()
    assert str(run_dir / SAMPLES) in str(refused.value)
    return str(refused.value)


def member(text: bytes) -> bytes:
    return gzip.compress(text)


def test_every_sample_comes_back_to_its_last_bit(tmp_path: Path) -> None:
    assert read(keep(tmp_path, BLOCKS)) == BLOCKS
    types = load_samples(tmp_path).dtypes
    assert types.to_dict() == {"row": "int64", "block": "int64", "seconds": "float64"}


def test_many_samples_come_back(tmp_path: Path) -> None:
    blocks = {n: [[n + k / 7 for k in range(50)] for _ in range(10)] for n in range(200)}
    assert read(keep(tmp_path, blocks)) == blocks


def test_a_row_of_more_samples_than_one_member_takes_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_IN_A_MEMBER", 7)
    assert read(keep(tmp_path, BLOCKS)) == BLOCKS
    keep(tmp_path, {1: [[7.0]]}, kept_rows=1)
    assert read(tmp_path) == {0: BLOCKS[0], 1: [[7.0]]}


def test_a_run_without_samples_has_none(tmp_path: Path) -> None:
    for run_dir in (tmp_path, keep(tmp_path, {})):
        assert load_samples(run_dir).dtypes.equals(load_samples(tmp_path).dtypes)
        assert read(run_dir) == {}


def test_a_row_without_samples_takes_no_byte(tmp_path: Path) -> None:
    empty = (keep(tmp_path / "empty", {}) / SAMPLES).read_bytes()
    assert (keep(tmp_path / "rows", {0: [], 1: [[], []]}) / SAMPLES).read_bytes() == empty


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    path = keep(tmp_path, BLOCKS) / SAMPLES
    assert gzip.decompress(path.read_bytes()).startswith(HEADER + b"0,0,0.30000000000000004\n")
    assert pd.read_csv(path).shape == load_samples(tmp_path).shape


def test_samples_are_in_the_file_when_append_returns(tmp_path: Path) -> None:
    kept = SampleWriter(tmp_path)
    for number, blocks in BLOCKS.items():
        kept.append(number, blocks)
        assert read(tmp_path)[number] == blocks
    kept.close()


def test_a_run_never_writes_over_anothers_samples(tmp_path: Path) -> None:
    keep(tmp_path, BLOCKS)
    with pytest.raises(FileExistsError):
        SampleWriter(tmp_path)
    assert read(tmp_path) == BLOCKS


@pytest.mark.parametrize("rows", range(6))
@pytest.mark.parametrize("torn", [b"", member(b"5,0,1.0\n")[:-3]], ids=["whole", "torn"])
def test_a_resumed_run_keeps_the_samples_of_its_rows_alone(
    tmp_path: Path, rows: int, torn: bytes
) -> None:
    path = keep(tmp_path, BLOCKS) / SAMPLES
    path.write_bytes(path.read_bytes() + torn)
    kept = {number: blocks for number, blocks in BLOCKS.items() if number < rows}
    keep(tmp_path, {rows: [[7.0]]}, kept_rows=rows)
    assert read(tmp_path) == {**kept, rows: [[7.0]]}


@pytest.mark.parametrize("there", [None, b"", member(HEADER)[:9]], ids=["none", "empty", "torn"])
def test_a_resumed_run_without_a_whole_header_begins_anew(
    tmp_path: Path, there: bytes | None
) -> None:
    if there is not None:
        (tmp_path / SAMPLES).write_bytes(there)
        assert read(tmp_path) == {}
    keep(tmp_path, BLOCKS, kept_rows=0)
    assert read(tmp_path) == BLOCKS


def test_a_file_cut_off_anywhere_keeps_the_rows_before(tmp_path: Path) -> None:
    blocks = {n: [[n + 0.1] * 9, [1e-6 * n]] for n in range(4)}
    content = (keep(tmp_path, blocks) / SAMPLES).read_bytes()
    ends = [
        len((keep(tmp_path / str(n), dict(list(blocks.items())[:n])) / SAMPLES).read_bytes())
        for n in range(5)
    ]
    for length in range(len(content) + 1):
        (tmp_path / SAMPLES).write_bytes(content[:length])
        whole = sum(length >= end for end in ends[1:])
        assert read(tmp_path) == dict(list(blocks.items())[:whole])


def test_a_flipped_bit_is_refused_or_takes_the_last_row_and_is_never_read(tmp_path: Path) -> None:
    content = (keep(tmp_path, BLOCKS) / SAMPLES).read_bytes()
    without_the_last = dict(list(BLOCKS.items())[:-1])
    outcomes: Counter[str] = Counter()
    for bit in random.Random(3).sample(range(8 * len(content)), 1_000):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / SAMPLES).write_bytes(changed)
        try:
            found = read(tmp_path)
        except ValueError:
            outcomes["refused"] += 1
            continue
        assert found in (BLOCKS, without_the_last)  # gzip's own words on time and system may differ
        outcomes["read"] += 1
    assert outcomes["refused"] > 900


@pytest.mark.parametrize(
    "content",
    [
        b"row,block,seconds\n0,0,1.0\n",
        b"\0" * 5000,
        member(b"") + member(HEADER),
        member(HEADER) + b"\0" * 20,
        member(HEADER) + member(HEADER),
        member(HEADER) + member(b"words\n"),
        member(HEADER) + member(b"0,0,words\n"),
        member(HEADER) + member(b"0.5,0,1.0\n"),
        member(HEADER) + member(b"99999999999999999999,0,1.0\n"),
        member(HEADER) + member(b"\xff\xfe\0\n"),
        member(HEADER) + member(b"0,0,1.0\n")[:-4] + member(b"1,0,1.0\n"),
        member(b"one,two\n1,2\n"),
    ],
    ids=lambda content: repr(content[-12:]),
)
def test_what_is_no_samples_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SAMPLES).write_bytes(content)
    refusal(tmp_path)


def test_a_damaged_file_is_not_gone_on_with(tmp_path: Path) -> None:
    path = keep(tmp_path, BLOCKS) / SAMPLES
    content = bytearray(path.read_bytes())
    content[120] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a samples file"):
        SampleWriter(tmp_path, kept_rows=4)
    assert path.read_bytes() == content


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / SAMPLES).mkdir()
    assert "no regular file" in refusal(tmp_path)
