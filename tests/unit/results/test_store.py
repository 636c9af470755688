import csv
import os
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convsweep.results.checksummed_csv import CHECKSUM, LONGEST_LINE
from convsweep.results.csv_table import columns_of
from convsweep.results.schema import (
    CASE_COLUMNS,
    COLUMNS,
    MEASUREMENTS_TABLE,
    PROBLEM_COLUMNS,
    STATUSES,
    Row,
)
from convsweep.results.store import MEASUREMENTS, load
from tests.support.row_factory import ROW, completed_rows, load_rows, resumed, write

DESIGNED = """schema_version, run_id, pass_index, started_at, environment_id, problem, batch_size,
    in_channels, out_channels, input_size, kernel_size, stride, padding, dilation, groups, bias,
    weight_kind, workload, layer, layer_count, role, backend, backend_version, device,
    device_name, dtype,
    memory_format, threads, cache, driver, status, reason, max_abs_err, error_ratio, prepare_s,
    first_call_s, samples, iterations, min_s, p05_s, median_s, p95_s, mad_s, peak_memory_bytes,
    page_faults_per_call, context_switches, load_avg_1m, cpu_freq_hz, sample_flags, macs,
    backend_macs, min_bytes, backend_bytes, backend_family, relative_err, node,
    implementation, reorders, kernel_s, reorder_s,
    cycles_per_call, instructions_per_call, cache_misses_per_call, energy_j_per_call,
    direction, block, padding_end, output_padding, sqnr_db, time_s"""

HINTS = get_type_hints(Row)
REQUIRED = [name for name in COLUMNS if HINTS[name] in (int, float, str, bool)]
OPTIONAL = [name for name in COLUMNS if name not in REQUIRED]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = {int: st.integers(1, 2**31), float: st.floats(0, 1e8), str: TEXTS}
FREE = {
    *("run_id", "started_at", *CASE_COLUMNS[CASE_COLUMNS.index("weight_kind") :], "reason"),
    *(name for name in OPTIONAL if HINTS[name] in (float | None, int | None)),
} - {
    *("backend_family", "backend_macs", "backend_bytes", "min_s", "p05_s", "median_s", "p95_s"),
    *("direction", "block", "padding_end", "output_padding", "time_s"),
}
"""Columns that may have any value of their type whatever the others are."""
NO_TIMES = {"median_s": None, "time_s": None}
drawn_row = st.builds(
    lambda status, times, **more: replace(
        ROW, status=status, **more, **(times if status == "ok" else NO_TIMES)
    ),
    status=st.sampled_from(STATUSES),
    times=st.fixed_dictionaries(
        {"median_s": st.floats(1e7, 1e8), "time_s": st.none() | st.floats(1e7, 1e8)}
    ),
    **{
        name: next(
            values if HINTS[name] is kind else st.none() | values
            for kind, values in VALUES.items()
            if HINTS[name] in (kind, kind | None)
        )
        for name in FREE
    },
    min_s=st.none() | st.floats(0, 1e7),
)
drawn_rows = st.lists(drawn_row, max_size=3).map(
    lambda rows: [replace(row, pass_index=index) for index, row in enumerate(rows)]
)


def test_the_columns_are_those_that_other_programs_know() -> None:
    assert tuple("".join(DESIGNED.split()).split(",")) == COLUMNS


def test_the_file_ends_each_line_with_a_checksum(tmp_path: Path) -> None:
    head, line = (write(tmp_path, [ROW]) / MEASUREMENTS).read_bytes().splitlines()
    assert head.decode() == ",".join([*COLUMNS, CHECKSUM])
    text, _, checksum = line.rpartition(b",")
    assert checksum.decode() == f"{zlib.crc32(text):08x}"
    assert tuple(load(tmp_path).columns) == COLUMNS


def test_a_case_is_everything_before_the_status_and_the_last_columns() -> None:
    assert CASE_COLUMNS[0] == "environment_id"
    first = COLUMNS.index("direction")
    assert CASE_COLUMNS[-4:] == COLUMNS[first : first + 4]
    assert set(COLUMNS) - set(CASE_COLUMNS) == {
        *("schema_version", "run_id", "pass_index", "started_at"),
        *COLUMNS[COLUMNS.index("status") : first],
        *COLUMNS[first + 4 :],
    }
    assert set(CASE_COLUMNS) - set(PROBLEM_COLUMNS) == {"backend", "backend_version", "device_name"}


@settings(max_examples=60)
@given(rows=drawn_rows)
@example(rows=[replace(ROW, reason='a "quoted" word, a comma\nand a new line')])
@example(rows=[replace(ROW, reason="returned\rhere")])
@example(rows=[replace(ROW, reason="both\r\nat once")])
@example(rows=[replace(ROW, reason=word, pass_index=n) for n, word in enumerate(("nan", "NA"))])
@example(
    rows=[
        replace(
            ROW, cache="cold", load_avg_1m=0.25, cpu_freq_hz=2.45e9, sample_flags="drift|bimodal"
        )
    ]
)
@example(rows=[replace(ROW, reason="\0", layer="a line's end:,01234567\n")])
@example(rows=[replace(ROW, reason="\ufeff", layer=" 1.0 ")])
@example(rows=[replace(ROW, median_s=5e-324, mad_s=0.0, error_ratio=float("inf"))])
@example(rows=[replace(ROW, macs=2**63 - 1, peak_memory_bytes=2**53 + 1)])
def test_loading_gives_the_appended_rows_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    run_dir = tmp_path_factory.mktemp("run") / "below" / "it"
    assert load_rows(write(run_dir, rows)) == rows


def test_what_is_missing_is_an_empty_cell_and_never_zero(tmp_path: Path) -> None:
    run_dir = write(tmp_path, [ROW])
    with (run_dir / MEASUREMENTS).open(newline="", encoding="utf-8") as file:
        [cells] = csv.DictReader(file)
    for name in OPTIONAL:
        assert (cells[name] == "") == (getattr(ROW, name) is None)
    assert load(run_dir)[[n for n in OPTIONAL if n != "median_s"]].isna().all(axis=None)


def test_a_column_has_one_type_however_few_cells_it_has(tmp_path: Path) -> None:
    values = {name: VALUES_OF[HINTS[name]] for name in OPTIONAL if HINTS[name] in VALUES_OF}
    values |= {"padding_end": "2x2", "output_padding": "0x0"}
    full = replace(ROW, **{**values, "problem": f"{ROW.problem}_e2x2_t0x0"})
    types = [
        load(write(tmp_path / name, rows)).dtypes
        for name, rows in {"none": [], "bare": [ROW], "full": [full], "both": [full, ROW]}.items()
    ]
    assert all((found == types[0]).all() for found in types)
    assert tuple(types[0].index) == COLUMNS


VALUES_OF = {int | None: 3, float | None: 0.5, str | None: "word"}


def test_each_row_is_on_the_disk_when_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = MEASUREMENTS_TABLE.open(tmp_path)
    path, synced = tmp_path / MEASUREMENTS, []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        assert os.path.samestat(os.fstat(descriptor), path.stat())
        synced.append(path.read_text(encoding="utf-8"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    for index in range(3):
        measurements.append(replace(ROW, pass_index=index))
        assert len(synced) == index + 1
        assert len(synced[-1].splitlines()) == index + 2
    assert load_rows(tmp_path) == [replace(ROW, pass_index=index) for index in range(3)]
    measurements.close()


def test_a_run_never_writes_over_another(tmp_path: Path) -> None:
    write(tmp_path, [ROW])
    with pytest.raises(FileExistsError):
        MEASUREMENTS_TABLE.open(tmp_path)
    assert load_rows(tmp_path) == [ROW]


def test_rows_of_one_write_are_rows_like_others(tmp_path: Path) -> None:
    rows = [replace(ROW, pass_index=index) for index in range(5)]
    measurements = MEASUREMENTS_TABLE.open(tmp_path)
    measurements.append(*rows[:3])
    measurements.append()
    measurements.append(*rows[3:])
    assert measurements.rows == 5
    measurements.close()
    assert load_rows(tmp_path) == rows


def test_a_resumed_run_appends_below_the_rows_there_are(tmp_path: Path) -> None:
    rows = [replace(ROW, pass_index=index) for index in range(4)]
    for index, row in enumerate(rows):
        assert completed_rows(tmp_path) == rows[:index]
        measurements = resumed(tmp_path)
        assert measurements.rows == index
        measurements.append(row)
        measurements.close()
    assert load_rows(tmp_path) == rows


@pytest.mark.parametrize("there", [None, b"", b"schema_ver"], ids=repr)
def test_a_run_that_ended_in_its_header_has_no_rows(tmp_path: Path, there: bytes | None) -> None:
    if there is not None:
        (tmp_path / MEASUREMENTS).write_bytes(there)
    assert MEASUREMENTS_TABLE.load_completed(tmp_path).rows.dtypes.equals(
        load(write(tmp_path / "none", [])).dtypes
    )
    assert len(completed_rows(tmp_path)) == 0
    measurements = resumed(tmp_path)
    measurements.append(ROW)
    measurements.close()
    assert load_rows(tmp_path) == [ROW]


@pytest.mark.parametrize("resume", [False, True])
def test_a_row_that_no_reader_would_take_is_not_written(tmp_path: Path, resume: bool) -> None:
    write(tmp_path, []) if resume else None
    measurements = resumed(tmp_path) if resume else MEASUREMENTS_TABLE.open(tmp_path)
    with pytest.raises(ValueError, match=f"longer than {LONGEST_LINE}"):
        measurements.append(ROW, replace(ROW, reason="x" * LONGEST_LINE))
    measurements.append(replace(ROW, reason="\ud800 is half a character"))
    measurements.close()
    assert load_rows(tmp_path) == [replace(ROW, reason="\\ud800 is half a character")]


def test_every_field_of_a_row_has_a_type_in_the_table() -> None:
    assert [column.name for column in columns_of(Row)] == [field.name for field in fields(Row)]
