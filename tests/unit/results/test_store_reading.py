"""What is read of a measurements file, and what is refused in one line."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

import pytest

from convsweep.results.checksummed_csv import CHECKSUM, encode_row, header_line
from convsweep.results.schema import COLUMNS, SCHEMA_VERSION, Row
from convsweep.results.store import MEASUREMENTS
from tests.support.row_factory import (
    ROW,
    cells,
    load_rows,
    refusal,
    resumed,
    text_of,
    version_5_text,
    write,
    write_text,
)

HINTS = get_type_hints(Row)
REQUIRED = [name for name in COLUMNS if HINTS[name] in (int, float, str, bool)]
NUMBERS = [name for name in COLUMNS if HINTS[name] not in (str, str | None)]
WHOLE_NUMBERS = [name for name in COLUMNS if HINTS[name] in (int, int | None)]

ROWS = [
    ROW,
    replace(ROW, backend="im2col", pass_index=1, cache="cold", sample_flags="drift|bimodal"),
]
TEXT = text_of(*map(cells, ROWS))


def test_the_file_is_as_these_tests_spell_it(tmp_path: Path) -> None:
    assert (write(tmp_path, ROWS) / MEASUREMENTS).read_text(encoding="utf-8") == TEXT


def test_a_file_that_was_sent_through_a_spreadsheets_line_ends_is_read(tmp_path: Path) -> None:
    saved = "\ufeff" + TEXT.replace("\n", "\r\n")
    assert load_rows(write_text(tmp_path, saved)) == ROWS


@pytest.mark.parametrize("last", ["node", "energy_j_per_call", "direction"])
def test_columns_that_an_older_file_lacks_have_their_defaults(tmp_path: Path, last: str) -> None:
    names = COLUMNS[: COLUMNS.index(last) + 1]
    row = replace(ROW, implementation="aten::mm", direction="training")
    lines = (header_line(names), encode_row(getattr(row, name) for name in names))
    write_text(tmp_path, b"".join(lines).decode())
    defaults = {field.name: field.default for field in fields(Row)[len(names) :]}
    assert load_rows(tmp_path) == [replace(row, **defaults)]
    with pytest.raises(ValueError, match="older version"):
        resumed(tmp_path)


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert "is not a run" in refusal(tmp_path / name)
    assert MEASUREMENTS in refusal(tmp_path)


@pytest.mark.parametrize("columns", [(*COLUMNS, CHECKSUM), COLUMNS], ids=len)
@pytest.mark.parametrize("dropped", [None, "min_bytes", "problem"])
def test_a_newer_schema_is_refused_and_says_so(
    tmp_path: Path, dropped: str | None, columns: tuple[str, ...]
) -> None:
    newer = str(SCHEMA_VERSION + 1)
    row = {**cells(ROW), CHECKSUM: "another kind", "schema_version": newer}
    kept = [name for name in columns if name != dropped]
    text = "\n".join([",".join(kept), *[",".join(row[name] for name in kept)] * 2]) + "\n"
    message = refusal(write_text(tmp_path, text))
    assert f"version {newer}" in message
    assert f"reads {SCHEMA_VERSION}" in message


@pytest.mark.parametrize("name", [*COLUMNS, CHECKSUM])
def test_a_missing_column_is_refused_by_name(tmp_path: Path, name: str) -> None:
    head, _, lines = TEXT.partition("\n")
    renamed = ",".join("other" if column == name else column for column in head.split(","))
    assert f"{name!r}" in refusal(write_text(tmp_path, f"{renamed}\n{lines}"))


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize(
    "columns",
    [
        ("note", *COLUMNS),
        (*COLUMNS, "note"),
        (*COLUMNS, "macs"),
        COLUMNS[::-1],
        (*COLUMNS, CHECKSUM),
    ],
    ids=lambda columns: f"{columns[0]}-{columns[-1]}-{len(columns)}",
)
def test_other_columns_are_refused_rows_or_not(
    tmp_path: Path, columns: tuple[str, ...], rows: int
) -> None:
    text = text_of(*[cells(ROW)] * rows, columns=columns)
    assert "column" in refusal(write_text(tmp_path, text))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_cell_that_must_be_there_is_refused_when_it_is_empty(tmp_path: Path, name: str) -> None:
    text = text_of(cells(ROW), cells(ROW) | {name: ""})
    assert f"{name!r}" in refusal(write_text(tmp_path, text))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("cell", ["many", "1;5", "0x1", "1 2", "9" * 5000])
def test_a_cell_of_another_type_is_refused(tmp_path: Path, name: str, cell: str) -> None:
    if HINTS[name] in (float, float | None) and cell.isdecimal():
        pytest.skip("a number like others")
    refusal(write_text(tmp_path, text_of(cells(ROW), cells(ROW) | {name: cell})))


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_a_fraction_is_no_whole_number(tmp_path: Path, name: str) -> None:
    refusal(write_text(tmp_path, text_of(cells(ROW) | {name: "1.5"})))


@pytest.mark.parametrize("name", ["median_s", "time_s"])
@pytest.mark.parametrize("seconds", ["0.0", "-1.0", "inf", "-inf"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, name: str, seconds: str) -> None:
    assert name in refusal(write_text(tmp_path, text_of(cells(ROW) | {name: seconds})))


def test_a_status_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    text = text_of(cells(ROW) | {"status": "fine"})
    assert "'status'" in refusal(write_text(tmp_path, text))


def test_a_file_of_the_schema_before_is_refused_in_one_line(tmp_path: Path) -> None:
    message = refusal(write_text(tmp_path, version_5_text()))
    assert "version 5" in message
    assert f"reads {SCHEMA_VERSION}" in message
    with pytest.raises(ValueError, match=r"version 5"):
        resumed(tmp_path)
    assert (tmp_path / MEASUREMENTS).read_text() == version_5_text()


def test_a_row_of_another_schema_among_others_is_refused(tmp_path: Path) -> None:
    other = cells(ROW) | {"schema_version": "5"}
    assert "version 5" in refusal(write_text(tmp_path, text_of(cells(ROW), other)))


@pytest.mark.parametrize("number", [2, 3])
def test_a_changed_line_is_refused_by_its_number(tmp_path: Path, number: int) -> None:
    lines = TEXT.splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace("float32", "float16")
    told = f"line {number} was changed or damaged: its checksum differs"
    assert told in refusal(write_text(tmp_path, "".join(lines)))


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path: Path) -> None:
    text = text_of(cells(ROW) | {"reason": "over\nthree\nlines"}, cells(ROW) | {"layer": "good"})
    told = refusal(write_text(tmp_path, text.replace("good", "evil")))
    assert "line 5 was changed" in told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        b"\0" * 1000,
        b"\0" * 1000 + b"\n",
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"PK\x03\x04" + b"\xff" * 500,
        b"one,two\n1,2\n",
        b"[1, 2, 3]\n",
        b"\r\r\r\n",
        ",".join(COLUMNS).encode("utf-16"),
        b'"' + ",".join(COLUMNS).encode(),
        b'"' + ",".join(COLUMNS).encode() + b"\n",
        TEXT.encode("utf-16"),
        TEXT.partition("\n")[0].encode(),
        TEXT.encode() + b"\n",
        TEXT.encode() + b"\0" * 4096 + b"\n",
    ],
    ids=lambda content: repr(content[:12] + content[-12:]),
)
def test_what_is_no_table_of_measurements_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(write_text(tmp_path, content))


@pytest.mark.parametrize("change", ["fewer", "more"])
@pytest.mark.parametrize("lines", [[1], [2], [1, 2]], ids=str)
def test_a_row_of_another_length_is_refused(tmp_path: Path, change: str, lines: list[int]) -> None:
    table = [line.split(",") for line in TEXT.splitlines()]
    for number in lines:
        table[number] = table[number][:-1] if change == "fewer" else [*table[number], "7"]
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / MEASUREMENTS).mkdir()
    assert "no regular file" in refusal(tmp_path)
    with pytest.raises(ValueError, match=r"no regular file$"):
        resumed(tmp_path)


def test_a_pipe_in_the_files_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MEASUREMENTS)
    assert "no regular file" in refusal(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ROWS)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refusal(tmp_path)


def test_a_file_that_grows_is_read_as_far_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, ROWS) / MEASUREMENTS
    seen = path.stat()
    with path.open("a") as file:
        file.write("endless " * 100_000)
    monkeypatch.setattr(os, "fstat", lambda _: seen)
    assert load_rows(tmp_path) == ROWS
