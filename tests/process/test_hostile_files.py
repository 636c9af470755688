"""Files that no run wrote: read or refused within 512 MB of memory."""

import gzip
import subprocess
import sys
import zlib
from itertools import count
from pathlib import Path
from typing import get_type_hints

import pytest

from convsweep.results.checksummed_csv import LONGEST_LINE, header_line
from convsweep.results.csv_table import MOST_TEXTS
from convsweep.results.samples import HEADER as SAMPLES_HEADER
from convsweep.results.samples import SAMPLES
from convsweep.results.schema import COLUMNS, MEASUREMENTS_TABLE, Row
from convsweep.results.store import MEASUREMENTS
from tests.support.row_factory import ROW, cells

HEADER = header_line(COLUMNS)
FEW_ROWS = 20_000  # a limit in place of the true one, which "different rows" come close to
HINTS = get_type_hints(Row)
TEXTS = [name for name in COLUMNS if HINTS[name] in (str, str | None) and name != "status"]


def template(*own: str) -> bytes:
    """The text of a row, an "@" in each of the columns `own`; without its checksum."""
    row = cells(ROW) | {name: f"{name} @" for name in own}
    return ",".join(row.values()).encode()


# What each hostile file begins with, the bytes that follow again and again, and how many in all.
HOSTILE = {
    "different rows": ("header", "different", 60_000_000),
    "too many rows": ("header", "row", 10_000_000),
    "too many texts": ("header", "distinct", 30_000_000),
    "too many bytes": ("header", "row", MEASUREMENTS_TABLE.largest_file + 1),
    "one line": ("nothing", "x", 100_000_000),
    "one line of zeros": ("header", "zero", 100_000_000),
    "one open quote": ("quote", "break", 100_000_000),
    "line breaks": ("header", "break", 100_000_000),
    "columns": ("nothing", "comma", 100_000_000),
    "a field of a megabyte": ("field", "x", 1_000_000),
}
PARTS = {
    "nothing": b"",
    "header": HEADER,
    "row": template(),
    "different": template("layer"),
    "distinct": template(*TEXTS),
    "quote": HEADER + b'"',
    "field": HEADER + b"1,",
    "x": b"x" * 1000,
    "zero": b"\0" * 1000,
    "break": b"\n" * 1000,
    "comma": b"," * 1000,
}
ENDING = {
    "too many rows": f"more than {FEW_ROWS} rows",
    "too many texts": f"more than {MOST_TEXTS} different texts",
    "too many bytes": f"bytes are more than {MEASUREMENTS_TABLE.largest_file}",
    "one line": f"line 1 is longer than {LONGEST_LINE} bytes",
    "one line of zeros": f"line 2 is longer than {LONGEST_LINE} bytes",
    "one open quote": f"line 2 is longer than {LONGEST_LINE} bytes",
    "line breaks": "line 2 was changed or damaged: its checksum differs",
    "columns": f"line 1 is longer than {LONGEST_LINE} bytes",
    "a field of a megabyte": f"line 2 is longer than {LONGEST_LINE} bytes",
}
FEWER = f"from convsweep.results import csv_table\ncsv_table.MOST_ROWS = {FEW_ROWS}\n"
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
RESUMER = READER.replace("store import load", "samples import Path, SampleWriter").replace(
    "len(load(sys.argv[1]))", "SampleWriter(Path(sys.argv[1]), 10**9)"
)


def lines(part: bytes, numbers: range) -> bytes:
    """The part for each number: a row gets the number in place of "@", and its checksum."""
    if b"," not in part or part == PARTS["comma"]:
        return part * len(numbers)
    if b"@" not in part:
        return b"%b,%08x\n" % (part, zlib.crc32(part)) * len(numbers)
    rows = (part.replace(b"@", b"%d" % number) for number in numbers)
    return b"".join(b"%b,%08x\n" % (row, zlib.crc32(row)) for row in rows)


def fill(path: Path, begin: bytes, part: bytes, size: int) -> None:
    """A file of `size` bytes."""
    at_once = 1 + 100_000 // len(part)
    with path.open("wb") as file:
        file.write(begin)
        for first in count(step=at_once):
            file.write(lines(part, range(first, first + at_once)))
            if file.tell() >= size:
                break


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of a process")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_less_than_512_megabytes(tmp_path: Path, name: str) -> None:
    begin, part, size = HOSTILE[name]
    fill(tmp_path / MEASUREMENTS, PARTS[begin], PARTS[part], size)
    code = FEWER + READER if name == "too many rows" else READER
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    output, peak_kib = found.stdout.splitlines()
    assert int(peak_kib) * 1024 < 512_000_000
    assert output.isdecimal() == (name not in ENDING)
    assert output.endswith(ENDING.get(name, ""))
    assert output.isdecimal() or (MEASUREMENTS in output and output.isprintable())


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of a process")
@pytest.mark.parametrize("text", [b"0,0,1.0\n" * 100_000, b"\0" * 1_000_000], ids=["rows", "zeros"])
def test_a_file_that_unpacks_to_gigabytes_takes_less_than_512_megabytes(
    tmp_path: Path, text: bytes
) -> None:
    stream = zlib.compressobj(level=1, wbits=31)
    first, again = (stream.compress(text) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    (tmp_path / SAMPLES).write_bytes(
        gzip.compress(SAMPLES_HEADER) + gzip.compress(text) * 200 + first + again * 1_000
    )
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            RESUMER,
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    output, peak_kib = found.stdout.splitlines()
    assert SAMPLES in output
    assert int(peak_kib) * 1024 < 512_000_000
