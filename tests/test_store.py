import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convsweep import store
from convsweep.store import (
    CASE_COLUMNS,
    COLUMNS,
    ENVIRONMENT,
    MEASUREMENTS,
    PROBLEM_COLUMNS,
    SCHEMA_VERSION,
    STATUSES,
    SUMMARY,
    Measurements,
    Row,
    load,
    refuse_unless_new,
)

DESIGNED = """schema_version, run_id, pass_index, started_at, environment_id, problem, batch_size,
    in_channels, out_channels, input_size, kernel_size, stride, padding, dilation, groups, bias,
    weight_kind, workload, layer, count, backend, backend_version, device, device_name, dtype,
    memory_format, threads, driver, status, reason, max_abs_err, error_ratio, prepare_s,
    first_call_s, samples, iterations, min_s, p05_s, median_s, p95_s, mad_s, peak_memory_bytes,
    page_faults_per_call, context_switches, macs, backend_macs, min_bytes"""

HINTS = get_type_hints(Row)
REQUIRED = [name for name in COLUMNS if HINTS[name] in (int, float, str, bool)]
OPTIONAL = [name for name in COLUMNS if name not in REQUIRED]

VALUES = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    bool: st.booleans(),
}
drawn_rows = st.builds(
    Row,
    schema_version=st.just(SCHEMA_VERSION),
    status=st.sampled_from(STATUSES),
    median_s=st.none() | st.floats(5e-324, 1e300),
    **{
        name: next(
            values if HINTS[name] is kind else st.none() | values
            for kind, values in VALUES.items()
            if HINTS[name] in (kind, kind | None)
        )
        for name in COLUMNS
        if name not in ("schema_version", "status", "median_s")
    },
)

ROW = Row(
    run_id="a-run",
    pass_index=0,
    started_at="2026-11-22T10:00:00.000+00:00",
    environment_id="e0",
    problem="n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0",
    batch_size=1,
    in_channels=4,
    out_channels=4,
    input_size="5x5",
    kernel_size="3x3",
    stride="1x1",
    padding="1x1",
    dilation="1x1",
    groups=1,
    bias=False,
    weight_kind="separable",
    backend="loop",
    device="cpu",
    dtype="float32",
    memory_format="contiguous",
    threads=1,
    status="ok",
    median_s=1.2345e-05,
    macs=3600,
    min_bytes=1376,
)


def write(run_dir: Path, rows: Sequence[Row]) -> Path:
    measurements = Measurements(run_dir)
    for row in rows:
        measurements.append(row)
    measurements.close()
    return run_dir


def load_rows(run_dir: Path) -> list[Row]:
    """The rows of a run, each missing cell as None."""
    records = load(run_dir).to_dict("records")
    return [
        Row(**{name: None if pd.isna(cell) else cell for name, cell in record.items()})
        for record in records
    ]


def write_text(run_dir: Path, content: str | bytes) -> Path:
    run_dir.mkdir(exist_ok=True)
    raw = content if isinstance(content, bytes) else content.encode()
    (run_dir / MEASUREMENTS).write_bytes(raw)
    return run_dir


def refusal(run_dir: Path) -> str:
    """Why the run can't be loaded, in one line that names it."""
    with pytest.raises(ValueError, match=r".") as raised:
        load(run_dir)
    message = str(raised.value)
    assert message.isprintable()
    assert str(run_dir) in message
    return message


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The file of a run of two rows."""
    run_dir = write(tmp_path / "good", [ROW, replace(ROW, backend="im2col", pass_index=1)])
    return (run_dir / MEASUREMENTS).read_text(encoding="utf-8")


def test_the_columns_are_those_that_other_programs_know() -> None:
    assert tuple("".join(DESIGNED.split()).split(",")) == COLUMNS


def test_a_case_is_everything_between_the_environment_and_the_status() -> None:
    assert CASE_COLUMNS[0] == "environment_id"
    assert CASE_COLUMNS[-1] == "driver"
    assert set(COLUMNS) - set(CASE_COLUMNS) == {
        *("schema_version", "run_id", "pass_index", "started_at"),
        *COLUMNS[COLUMNS.index("status") :],
    }
    assert set(CASE_COLUMNS) - set(PROBLEM_COLUMNS) == {"backend", "backend_version", "device_name"}


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(drawn_rows, max_size=3))
@example(rows=[replace(ROW, reason='a "quoted" word, a comma\nand a new line')])
@example(rows=[replace(ROW, reason="returned\rhere")])
@example(rows=[replace(ROW, reason="both\r\nat once")])
@example(rows=[replace(ROW, reason="nan"), replace(ROW, reason="NA"), replace(ROW, reason="None")])
@example(rows=[replace(ROW, reason="\ufeff"), replace(ROW, reason=" 1.0 ")])
@example(rows=[replace(ROW, median_s=5e-324, mad_s=0.0, p95_s=float("inf"), min_s=0.1 + 0.2)])
@example(rows=[replace(ROW, macs=2**63 - 1, samples=2**53 + 1, count=0)])
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
    full = replace(
        ROW, **{name: VALUES_OF[HINTS[name]] for name in OPTIONAL if HINTS[name] in VALUES_OF}
    )
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
    measurements = Measurements(tmp_path)
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


@pytest.mark.parametrize(
    "end", [f"os.kill(os.getpid(), {signal.SIGKILL:d})", "os._exit(3)"], ids=["killed", "exits"]
)
def test_a_row_written_before_a_crash_is_there_after_it(tmp_path: Path, end: str) -> None:
    script = f"""
import os, sys
from pathlib import Path
from convsweep.store import Measurements, Row
measurements = Measurements(Path(sys.argv[1]))
measurements.append({ROW!r})
{end}
"""
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert died.returncode in (3, -signal.SIGKILL)
    assert load_rows(tmp_path) == [ROW]


def test_a_run_never_writes_over_another(tmp_path: Path) -> None:
    write(tmp_path, [ROW])
    with pytest.raises(FileExistsError):
        Measurements(tmp_path)
    assert load_rows(tmp_path) == [ROW]


def test_loading_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from convsweep.store import load;"
        "assert 'pandas' not in sys.modules;"
        f"assert len(load({str(write(tmp_path, [ROW]))!r})) == 1;"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_further_columns_are_kept_out_of_the_way(tmp_path: Path, text: str) -> None:
    head, *lines = text.splitlines()
    further = "\n".join([f"note,{head}", *(f"mine,{line}" for line in lines)]) + "\n"
    assert load_rows(write_text(tmp_path, further)) == load_rows(write_text(tmp_path, text))


def test_a_file_that_a_spreadsheet_has_saved_is_read(tmp_path: Path, text: str) -> None:
    saved = "\ufeff" + text.replace("\n", "\r\n")
    assert load_rows(write_text(tmp_path, saved)) == load_rows(write_text(tmp_path, text))


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert "is not a run" in refusal(tmp_path / name)
    assert MEASUREMENTS in refusal(tmp_path)


@pytest.mark.parametrize("dropped", [None, "min_bytes", "problem"])
def test_a_newer_schema_is_refused_and_says_so(
    tmp_path: Path, text: str, dropped: str | None
) -> None:
    newer = text.replace(f"\n{SCHEMA_VERSION},", f"\n{SCHEMA_VERSION + 1},")
    table = [line.split(",") for line in newer.splitlines()]
    kept = [i for i, name in enumerate(COLUMNS) if name != dropped]
    newer = "\n".join(",".join(cells[i] for i in kept) for cells in table) + "\n"
    message = refusal(write_text(tmp_path, newer))
    assert f"version {SCHEMA_VERSION + 1}" in message
    assert f"reads {SCHEMA_VERSION}" in message


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_column_is_refused_by_name(tmp_path: Path, text: str, name: str) -> None:
    head, _, lines = text.partition("\n")
    renamed = ",".join("other" if column == name else column for column in head.split(","))
    assert f"{name!r}" in refusal(write_text(tmp_path, f"{renamed}\n{lines}"))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_cell_that_must_be_there_is_refused_when_it_is_empty(
    tmp_path: Path, text: str, name: str
) -> None:
    table = [line.split(",") for line in text.splitlines()]
    table[-1][COLUMNS.index(name)] = ""
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


@pytest.mark.parametrize("name", [name for name in COLUMNS if HINTS[name] not in (str, str | None)])
@pytest.mark.parametrize("cell", ["many", "1;5", "0x1", "1 2"])
def test_a_cell_of_another_type_is_refused(tmp_path: Path, text: str, name: str, cell: str) -> None:
    table = [line.split(",") for line in text.splitlines()]
    table[-1][COLUMNS.index(name)] = cell
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


@pytest.mark.parametrize("name", [name for name in COLUMNS if HINTS[name] in (int, int | None)])
def test_a_fraction_is_no_whole_number(tmp_path: Path, text: str, name: str) -> None:
    table = [line.split(",") for line in text.splitlines()]
    table[-1][COLUMNS.index(name)] = "1.5"
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        b"\0" * 1000,
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"PK\x03\x04" + b"\xff" * 500,
        b"one,two\n1,2\n",
        b"[1, 2, 3]\n",
        ",".join(COLUMNS).encode("utf-16"),
        b'"' + ",".join(COLUMNS).encode(),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_table_of_measurements_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(write_text(tmp_path, content))


def test_a_file_cut_off_anywhere_is_refused_or_loads_whole_rows(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, reason="on\ntwo lines", layer='a "name"', min_bytes=123456)]
    content = (write(tmp_path, rows) / MEASUREMENTS).read_bytes()
    breaks = [place for place, byte in enumerate(content) if byte == ord("\n")]
    near_a_break = {place + near for place in breaks for near in range(-7, 3)}
    misread = []
    for length in sorted({*range(0, len(content), 19), *near_a_break} - {len(content)}):
        write_text(tmp_path, content[:length])
        with suppress(ValueError):
            found = load_rows(tmp_path)
            if found != rows[: len(found)] or length < len(",".join(COLUMNS)):
                misread.append(content[:length][-30:])
    assert misread == []


@pytest.mark.parametrize("change", ["fewer", "more"])
@pytest.mark.parametrize("lines", [[1], [2], [1, 2]], ids=str)
def test_a_row_of_another_length_is_refused(
    tmp_path: Path, text: str, change: str, lines: list[int]
) -> None:
    table = [line.split(",") for line in text.splitlines()]
    for number in lines:
        table[number] = table[number][:-1] if change == "fewer" else [*table[number], "7"]
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


def test_a_new_or_empty_folder_may_hold_a_run(tmp_path: Path) -> None:
    refuse_unless_new(tmp_path)
    refuse_unless_new(tmp_path / "new")
    refuse_unless_new(tmp_path / "new" / "and" / "deeper")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [MEASUREMENTS, "anything", ".hidden"])
def test_a_folder_with_anything_in_it_is_refused_and_left_as_it_was(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=r"^[^\n]+ may hold another run$") as refused:
        refuse_unless_new(tmp_path)
    assert repr(str(tmp_path)) in str(refused.value)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_no_run_is_written_over_or_below_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    run_dir = tmp_path / "file" / below
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        refuse_unless_new(run_dir)
    assert repr(str(run_dir)) in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for run_dir in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match=r"^[^\n]+can't be written[^\n]+$") as refused:
            refuse_unless_new(run_dir)
        assert repr(str(run_dir)) in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    run_dir = tmp_path / "link"
    run_dir.symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        refuse_unless_new(run_dir)
    assert repr(str(run_dir)) in str(refused.value)


WRITERS = {
    SUMMARY: lambda run_dir, word: store.write_summary(run_dir, pd.DataFrame({"verdict": [word]})),
    ENVIRONMENT: lambda run_dir, word: store.write_environment(run_dir, {"cpu": word}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_written_over_in_one_step(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path, "old")
    WRITERS[name](tmp_path, "new")
    assert "new" in (tmp_path / name).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str, error: BaseException
) -> None:
    WRITERS[name](tmp_path, "old")
    before = (tmp_path / name).read_bytes()

    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr(moment, interrupted)
    with pytest.raises(type(error)):
        WRITERS[name](tmp_path, "new and longer")
    assert (tmp_path / name).read_bytes() == before


def test_an_environment_is_read_back_and_may_be_missing(tmp_path: Path) -> None:
    assert store.read_environment(tmp_path) == {}
    environment = {"cpu": "β <b>", "cores": 2, "warnings": [], "commit": None, "os": {"x": 1.5}}
    store.write_environment(tmp_path, environment)
    assert store.read_environment(tmp_path) == environment


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe\0", b"{}\n{}"], ids=repr)
def test_what_is_no_environment_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ENVIRONMENT).write_bytes(content)
    with pytest.raises(ValueError, match=r"is not an environment file") as refused:
        store.read_environment(tmp_path)
    assert str(refused.value).isprintable()
    assert ENVIRONMENT in str(refused.value)


def test_every_field_of_a_row_has_a_type_in_the_table() -> None:
    assert list(store.pandas_types()) == [field.name for field in fields(Row)]


def test_a_status_that_nobody_knows_is_refused(tmp_path: Path, text: str) -> None:
    assert "'status'" in refusal(write_text(tmp_path / "run", text.replace(",ok,", ",fine,")))
