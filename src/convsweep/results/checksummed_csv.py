"""CSV lines that end with a checksum, so that a damaged line is never read as a number.

A line is a CSV record; a quoted cell may contain line breaks. The checksum is the CRC-32 of the
bytes before the last comma, as eight hexadecimal digits.
"""

import codecs
import csv
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

CHECKSUM = "checksum"
LONGEST_LINE = 65_536  # Bytes. Lines of convsweep have about 500.

_END_OF_A_LINE = re.compile(rb",[0-9a-f]{8}\r?\n")


def encode_row(cells: Iterable[object]) -> bytes:
    """Return one line with its checksum and line end; None is an empty cell.

    Raises:
        ValueError: the line is longer than `LONGEST_LINE`.
    """
    text = _csv_text(cells)
    line = b"%b,%08x\n" % (text, zlib.crc32(text))
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a row of {len(line)} bytes is longer than {LONGEST_LINE}")
    return line


def header_line(columns: Sequence[str]) -> bytes:
    """Return the first line of a file with these columns."""
    return _csv_text([*columns, CHECKSUM]) + b"\n"


def _csv_text(cells: Iterable[object]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # its own line end makes it quote both "\r" and "\n"
    # A file name that is no valid Unicode must not end a run that only mentions it.
    return line.getvalue().removesuffix("\r\n").encode(errors="backslashreplace")


class CsvLine(NamedTuple):
    """One whole line of a file."""

    number: int  # From 1, as a text editor counts
    cells: list[str]  # All cells but the checksum
    end: int  # Bytes of the file up to the end of this line


class ChecksummedCsv:
    """Lines of a file, one at a time. A last line that was cut off is left out.

    `end` has the bytes up to the end of the last line that was read.
    """

    def __init__(
        self, file: BinaryIO, columns: Sequence[str], version: int, later: Sequence[str] = ()
    ) -> None:
        """Read the header.

        Files without some of the last columns are older; `later` has the cells that they get.

        Raises:
            ValueError: there is no header, or not that of these columns and this schema version.
        """
        self._file, self._columns, self._version = file, columns, version
        self._left = os.fstat(file.fileno()).st_size  # a file that grows is read up to here
        self.end, self._number = 0, 1
        if not self._left:
            raise ValueError("it is empty")
        header = self._next()
        if header is None:
            raise ValueError("it has no whole header line")
        header = header.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
        for missing in range(len(later) + 1):
            if header == header_line(columns[: len(columns) - missing]):
                self._missing = later[len(later) - missing :]
                return
        raise ValueError(self._header_error(_cells(header, 1)))

    def __iter__(self) -> Iterator[CsvLine]:
        """Yield every line below the header.

        Raises:
            ValueError: a line was changed or is of another schema version.
        """
        number = self._number
        while line := self._next():
            text, _, checksum = line.rpartition(b",")
            if checksum.rstrip(b"\r\n") != b"%08x" % zlib.crc32(text):
                self._require_version(_cells(line, number))
                raise ValueError(f"line {number} was changed or damaged: its checksum differs")
            cells = _cells(text, number)
            if len(cells) != (expected := len(self._columns) - len(self._missing)):
                raise ValueError(f"line {number} has {len(cells)} cells, not {expected}")
            self._require_version(cells)
            yield CsvLine(number, [*cells, *self._missing], self.end)
            number = self._number

    def _next(self) -> bytes | None:
        """Return the next whole line, over as many line breaks as its quotes contain."""
        parts: list[bytes] = []
        quotes = length = 0
        while part := self._file.readline(min(self._left, LONGEST_LINE + 1 - length)):
            parts.append(part)
            self._left -= len(part)
            length += len(part)
            quotes += part.count(b'"')
            if length > LONGEST_LINE:
                raise ValueError(f"line {self._number} is longer than {LONGEST_LINE} bytes")
            if part.endswith(b"\n") and quotes % 2 == 0:
                self._number += len(parts)
                self.end += length
                return b"".join(parts)
        if _END_OF_A_LINE.search(b"".join(parts)):  # more than one torn line: a quote was lost
            raise ValueError(f"line {self._number} was changed or damaged: a quote is not closed")
        return None

    def _require_version(self, cells: Sequence[str]) -> None:
        version = "".join(cells[:1]) if self._columns[0] == "schema_version" else ""
        if version.isdecimal() and version != str(self._version):
            raise ValueError(f"schema version {version}; this convsweep reads {self._version}")

    def _header_error(self, names: Sequence[str]) -> str:
        """Return the difference between the header and the expected columns."""
        line = self._next()
        if line is not None and names[:1] == ["schema_version"]:
            self._require_version(_cells(line, 2))
        expected = (*self._columns, CHECKSUM)
        if missing := [name for name in expected if name not in names]:
            return f"no column {missing[0]!r}"
        if unknown := [name for name in names if name not in expected]:
            return f"unknown column {unknown[0]!r}"
        return "its columns are in another order, or one is repeated"


def _cells(text: bytes, number: int) -> list[str]:
    try:
        [cells] = csv.reader([text.decode()])
    except (ValueError, csv.Error):
        raise ValueError(f"line {number} is no line of a table") from None
    return cells
