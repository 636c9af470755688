"""What is read of a measurements file, and what is refused in one line."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import get_type_hints

import pytest

from convsweep.results.checksummed_csv import CHECKSUM, LONGEST_LINE, encode_row, header_line
from convsweep.results.csv_reader import LARGEST_FILE, MOST_ROWS, MOST_TEXTS
from convsweep.results.store import COLUMNS, MEASUREMENTS, SCHEMA_VERSION, Measurements, Row, load
from tests.support.row_factory import (
    FIRST_SCHEMA,
    OLD,
    ROW,
    cells,
    first_schema_text,
    load_rows,
    refusal,
    text_of,
    write,
    write_text,
)

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
HINTS = get_type_hints(Row)
REQUIRED = [name for name in COLUMNS if HINTS[name] in (int, float, str, bool)]
NUMBERS = [name for name in COLUMNS if HINTS[name] not in (str, str | None)]
WHOLE_NUMBERS = [name for name in COLUMNS if HINTS[name] in (int, int | None)]

ROWS = [
    ROW,
    replace(ROW, backend="im2col", pass_index=1, cache="cold", sample_flags="drift|bimodal"),
]
OLD_ROWS = [replace(row, schema_version=1, cache="hot", sample_flags=None) for row in ROWS]
TEXT = text_of(*map(cells, ROWS))


def test_the_file_is_as_these_tests_spell_it(tmp_path: Path) -> None:
    assert (write(tmp_path, ROWS) / MEASUREMENTS).read_text(encoding="utf-8") == TEXT


def test_a_file_that_was_sent_through_a_spreadsheets_line_ends_is_read(tmp_path: Path) -> None:
    saved = "\ufeff" + TEXT.replace("\n", "\r\n")
    assert load_rows(write_text(tmp_path, saved)) == ROWS


def test_rows_of_the_first_schema_are_of_hot_caches(tmp_path: Path) -> None:
    write_text(tmp_path, first_schema_text(*map(cells, OLD_ROWS)))
    assert load_rows(tmp_path) == OLD_ROWS
    assert load(tmp_path).dtypes.equals(load(write(tmp_path / "new", ROWS)).dtypes)


def test_the_reference_run_is_read_whole() -> None:
    lines = (REFERENCE / MEASUREMENTS).read_text(encoding="utf-8").splitlines()
    assert len(load(REFERENCE)) == len(lines) - 1


@pytest.mark.parametrize("version", range(2, SCHEMA_VERSION))
def test_a_file_of_an_older_schema_is_read_and_not_gone_on_with(
    tmp_path: Path, version: int
) -> None:
    row = replace(ROW, schema_version=version, backend_bytes=7 if version > 2 else None)
    line = encode_row([getattr(row, name) for name in columns_of(version)])
    (tmp_path / MEASUREMENTS).write_bytes(header_line(columns_of(version)) + line)
    assert load_rows(tmp_path) == [row]
    with pytest.raises(ValueError, match=rf"^[^\n]+of schema version {version}[^\n]+$"):
        Measurements(tmp_path, resume=True)


def test_no_row_is_added_to_a_file_of_the_first_schema(tmp_path: Path) -> None:
    text = first_schema_text(cells(OLD))
    write_text(tmp_path, text)
    with pytest.raises(ValueError, match=r"^[^\n]+of schema version 1[^\n]+$"):
        Measurements(tmp_path, resume=True)
    assert (tmp_path / MEASUREMENTS).read_text() == text


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert "is not a run" in refusal(tmp_path / name)
    assert MEASUREMENTS in refusal(tmp_path)


@pytest.mark.parametrize("columns", [(*COLUMNS, CHECKSUM), COLUMNS, FIRST_SCHEMA], ids=len)
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


@pytest.mark.parametrize("name", FIRST_SCHEMA)
def test_a_missing_column_of_the_first_schema_is_refused_by_name(tmp_path: Path, name: str) -> None:
    columns = ["other" if column == name else column for column in FIRST_SCHEMA]
    text = first_schema_text(cells(OLD), columns=columns)
    assert f"{name!r}" in refusal(write_text(tmp_path, text))


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize(
    "columns",
    [
        ("note", *FIRST_SCHEMA),
        (*FIRST_SCHEMA, "note"),
        (*FIRST_SCHEMA, "macs"),
        FIRST_SCHEMA[::-1],
        COLUMNS[::-1],
        (*COLUMNS[::-1], CHECKSUM),
        (*COLUMNS, CHECKSUM, "note"),
        (*COLUMNS, CHECKSUM, CHECKSUM),
    ],
    ids=lambda columns: f"{columns[0]}-{columns[-1]}-{len(columns)}",
)
def test_other_columns_are_refused_rows_or_not(
    tmp_path: Path, columns: tuple[str, ...], rows: int
) -> None:
    text = first_schema_text(*[cells(OLD)] * rows, columns=columns)
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
    if name in FIRST_SCHEMA:
        refusal(write_text(tmp_path, first_schema_text(cells(OLD) | {name: cell})))


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_a_fraction_is_no_whole_number(tmp_path: Path, name: str) -> None:
    refusal(write_text(tmp_path, text_of(cells(ROW) | {name: "1.5"})))


@pytest.mark.parametrize("median_s", ["0.0", "-1.0", "inf", "-inf"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, median_s: str) -> None:
    text = text_of(cells(ROW) | {"median_s": median_s})
    assert "median_s" in refusal(write_text(tmp_path, text))


def test_a_status_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    text = text_of(cells(ROW) | {"status": "fine"})
    assert "'status'" in refusal(write_text(tmp_path, text))


def test_rows_of_two_schemas_in_one_file_are_refused(tmp_path: Path) -> None:
    assert "schema version" in refusal(write_text(tmp_path, text_of(cells(ROW), cells(OLD))))
    head, line = first_schema_text(cells(OLD)).splitlines()
    newer = line.replace("1,", f"{SCHEMA_VERSION},", 1)
    assert "schema version" in refusal(write_text(tmp_path, f"{head}\n{line}\n{newer}\n"))


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
        first_schema_text(cells(OLD) | {"reason": "\0"}).encode(),
        first_schema_text(cells(OLD)).encode().replace(b"float32", b"\xff\xfe"),
        first_schema_text(cells(OLD)).encode() + b'"\n\n',
        first_schema_text(cells(OLD)).encode() + b"\n",
        TEXT.encode() + b"\n",
        TEXT.encode() + b"\0" * 4096 + b"\n",
    ],
    ids=lambda content: repr(content[:12] + content[-12:]),
)
def test_what_is_no_table_of_measurements_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(write_text(tmp_path, content))


def test_a_file_of_the_first_schema_cut_off_anywhere_is_refused_or_loads_whole_rows(
    tmp_path: Path,
) -> None:
    rows = [ROW, replace(ROW, reason="on\ntwo lines", layer='a "name"', min_bytes=123456)]
    rows = [replace(row, schema_version=1) for row in rows]
    content = first_schema_text(*map(cells, rows)).encode()
    breaks = [place for place, byte in enumerate(content) if byte == ord("\n")]
    near_a_break = {place + near for place in breaks for near in range(-7, 3)}
    misread = []
    for length in sorted({*range(0, len(content), 19), *near_a_break} - {len(content)}):
        write_text(tmp_path, content[:length])
        with suppress(ValueError):
            found = load_rows(tmp_path)
            if found != rows[: len(found)] or length < len(",".join(FIRST_SCHEMA)):
                misread.append(content[:length][-30:])
    assert misread == []


@pytest.mark.parametrize("change", ["fewer", "more"])
@pytest.mark.parametrize("lines", [[1], [2], [1, 2]], ids=str)
@pytest.mark.parametrize("text", [TEXT, first_schema_text(*map(cells, OLD_ROWS))], ids=["2", "1"])
def test_a_row_of_another_length_is_refused(
    tmp_path: Path, text: str, change: str, lines: list[int]
) -> None:
    table = [line.split(",") for line in text.splitlines()]
    for number in lines:
        table[number] = table[number][:-1] if change == "fewer" else [*table[number], "7"]
    refusal(write_text(tmp_path, "\n".join(map(",".join, table)) + "\n"))


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / MEASUREMENTS).mkdir()
    assert "no regular file" in refusal(tmp_path)
    with pytest.raises(ValueError, match=r"no regular file$"):
        Measurements(tmp_path, resume=True)


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


TEXTS = [name for name in FIRST_SCHEMA if HINTS[name] in (str, str | None) and name != "status"]


def old_line(*own: str) -> bytes:
    """A row of the first schema; of the columns `own`, each has a text of its own."""
    row = cells(OLD) | {name: f"{name} @" for name in own}
    return first_schema_text(row).encode().partition(b"\n")[2]


# What each hostile file begins with, the bytes that follow again and again, and how many in all.
HOSTILE = {
    "different rows": ("first", "different", 60_000_000),
    "too many rows": ("first", "row", 100_000_000),
    "too many texts": ("first", "distinct", 100_000_000),
    "too many bytes": ("first", "row", LARGEST_FILE + 1),
    "one line": ("nothing", "x", 100_000_000),
    "one line of zeros": ("header", "zero", 100_000_000),
    "one open quote": ("quote", "break", 100_000_000),
    "line breaks": ("header", "break", 100_000_000),
    "columns": ("nothing", "comma", 100_000_000),
    "a field of a megabyte": ("field", "x", 1_000_000),
}
PARTS = {
    "nothing": b"",
    "header": TEXT.partition("\n")[0].encode() + b"\n",
    "first": first_schema_text().encode(),
    "row": old_line(),
    "different": old_line("started_at"),
    "distinct": old_line(*TEXTS),
    "quote": first_schema_text().encode() + b'"',
    "field": first_schema_text().encode() + b"1,",
    "x": b"x" * 1000,
    "zero": b"\0" * 1000,
    "break": b"\n" * 1000,
    "comma": b"," * 1000,
}
ENDING = {
    "too many rows": f"more than {MOST_ROWS} rows",
    "too many texts": f"more than {MOST_TEXTS} different texts",
    "too many bytes": f"bytes are more than {LARGEST_FILE}",
    "one line": f"line 1 is longer than {LONGEST_LINE} bytes",
    "one line of zeros": f"line 2 is longer than {LONGEST_LINE} bytes",
    "one open quote": f"line 2 is longer than {LONGEST_LINE} bytes",
    "line breaks": "line 2 was changed or damaged: its checksum differs",
    "columns": f"line 1 is longer than {LONGEST_LINE} bytes",
    "a field of a megabyte": f"line 2 is longer than {LONGEST_LINE} bytes",
}
READER = """
import sys
from convsweep.results.store import load
try:
    print(len(load(sys.argv[1])))
except ValueError as error:
    print(error)
status = open('/proc/self/status').read()  # ru_maxrss begins with what the parent had
print(status.partition('VmHWM:')[2].split()[0])
"""


def fill(path: Path, begin: bytes, part: bytes, size: int) -> None:
    """A file of `size` bytes; a part's "@" is another number each time."""
    at_once = 1 + 100_000 // len(part)
    with path.open("wb") as file:
        file.write(begin)
        for first in count(step=at_once):
            numbers = range(first, first + at_once)
            file.write(b"".join(part.replace(b"@", b"%d" % number) for number in numbers))
            if file.tell() >= size:
                break


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of a process")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_less_than_512_megabytes(tmp_path: Path, name: str) -> None:
    begin, part, size = HOSTILE[name]
    fill(tmp_path / MEASUREMENTS, PARTS[begin], PARTS[part], size)
    found = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)], capture_output=True, text=True, check=True
    )
    said, peak_kib = found.stdout.splitlines()
    assert int(peak_kib) * 1024 < 512_000_000
    assert said.isdecimal() == (name not in ENDING)
    assert said.endswith(ENDING.get(name, ""))
    assert said.isdecimal() or (MEASUREMENTS in said and said.isprintable())
