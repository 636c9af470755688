"""accuracy.csv: what is appended is loaded; a torn end goes, damage is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.results.accuracy import (
    ACCURACY_TABLE,
    VARIANTS,
    AccuracyRow,
    Unit,
    completed_units,
)

ACCURACY, load = ACCURACY_TABLE.file_name, ACCURACY_TABLE.load

ROW = AccuracyRow(
    run_id="a-study",
    started_at="2026-11-22T10:00:00.000+00:00",
    environment_id="e0",
    dataset="digits",
    variant="standard",
    seed=0,
    device="cpu",
    dtype="float32",
    threads=1,
    status="ok",
    accuracy=0.1 + 0.2,
    loss=0.7,
    training_s=1.5,
    inference_s=1e-3,
    batch_size=64,
    batch_inference_s=2e-3,
    weights_digest="00ff",
)


def unit(seed: int, **changes: object) -> list[AccuracyRow]:
    return [replace(ROW, variant=variant, seed=seed, **changes) for variant in VARIANTS]  # type: ignore[arg-type]


SKIPPED = unit(1, status="skipped", reason='says "no",\nin two lines', accuracy=None, loss=None)


def write(run_dir: Path, *units: list[AccuracyRow], resume: bool = False) -> Path:
    table = ACCURACY_TABLE.open(run_dir, ACCURACY_TABLE.load_completed(run_dir) if resume else None)
    for rows in units:
        table.append(*rows)
    table.close()
    return run_dir / ACCURACY


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, unit(0), SKIPPED)
    assert ACCURACY_TABLE.rows_of(load(tmp_path)) == [*unit(0), *SKIPPED]


def test_a_torn_end_was_never_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, unit(0), unit(1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(load(tmp_path)) == 5


def test_a_study_goes_on_behind_its_last_whole_unit(tmp_path: Path) -> None:
    path = write(tmp_path, unit(0))
    whole = path.read_bytes()
    path.write_bytes(write(tmp_path / "more", unit(0), unit(1)).read_bytes()[:-20])
    assert completed_units(ACCURACY_TABLE.load_completed(tmp_path).rows) == {Unit("digits", 0)}
    write(tmp_path, resume=True)
    assert path.read_bytes() == whole
    write(tmp_path, unit(1), resume=True)
    assert list(load(tmp_path)["seed"]) == [0, 0, 0, 1, 1, 1]


def test_a_study_that_ended_before_its_first_row_begins_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:10])
    write(tmp_path, unit(0), resume=True)
    assert len(load(tmp_path)) == 3


def refused(run_dir: Path) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        load(run_dir)
    return str(error.value)


@pytest.mark.parametrize("place", [400, 700, 1000])
def test_a_flipped_bit_is_refused(tmp_path: Path, place: int) -> None:
    path = write(tmp_path, unit(0), unit(1))
    text = bytearray(path.read_bytes())
    text[place] ^= 1
    path.write_bytes(text)
    assert ACCURACY in refused(tmp_path)


def test_what_is_no_study_is_refused_by_name(tmp_path: Path) -> None:
    assert "has no accuracy.csv" in refused(tmp_path)
    (tmp_path / ACCURACY).write_text("seconds,joy\n1,2\n")
    assert "no column 'schema_version'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 99}, "version 99"),
        ({"accuracy": 1.5}, "an accuracy"),
        ({"training_s": 0.0}, "a time"),
        ({"status": "fine"}, "'fine'"),
        ({"dataset": ""}, "'dataset'"),
    ],
)
def test_a_value_that_no_study_has_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    write(tmp_path, unit(0, **changes))
    assert said in refused(tmp_path)


def test_two_rows_of_one_network_are_refused(tmp_path: Path) -> None:
    write(tmp_path, unit(0), unit(0))
    assert "two rows are of one data set, variant and seed" in refused(tmp_path)
