"""The text of measurements.csv: one line a row, and at its end a checksum of all before it.

A line is a CSV record: a quoted cell may hold line breaks. The checksum is the CRC-32 of the bytes
before the last comma, as eight hexadecimal digits, so a flipped bit is noticed, never read.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

CHECKSUM = "checksum"
LONGEST_LINE = 65_536
"""Bytes. Rows of convsweep have about 500; whatever is longer is no row."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ENDS_A_CHECKED_LINE = re.compile(rb",[0-9a-f]{8}\r?\n")
_ENDS_A_LINE = re.compile(rb"\n")


def encode_row(cells: Sequence[object]) -> bytes:
    """One row's line, its checksum and line end included; None is an empty cell.

    Raises:
        ValueError: where the line is longer than a reader takes.
    """
    text = _csv_text(cells)
    line = b"%b,%b\n" % (text, _checksum(text))
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a row of {len(line)} bytes is longer than {LONGEST_LINE}")
    return line


def header_line(columns: Sequence[str]) -> bytes:
    """The first line of a file of checked lines."""
    return _csv_text([*columns, CHECKSUM]) + b"\n"


def _csv_text(cells: Sequence[object]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # its own line end makes it quote both "\r" and "\n"
    # A file name that is no Unicode must not end a run that only tells of it.
    return line.getvalue().removesuffix("\r\n").encode(errors="backslashreplace")


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


@dataclass(frozen=True)
class CsvLine:
    """One whole line of the file, its line end included."""

    number: int
    text: bytes

    @property
    def cells(self) -> list[str]:
        """The cells, the checksum among them."""
        try:
            [cells] = csv.reader([self.text.decode()])
        except (ValueError, csv.Error):
            raise ValueError(f"line {self.number} is no line of a table") from None
        return cells

    def require_intact(self, *, checked: bool) -> None:
        """Raise `ValueError` where the line is not what was written, as far as can be told."""
        if not checked and b"\0" in self.text:
            raise ValueError(f"line {self.number} holds a NUL byte")
        text, _, checksum = self.text.rpartition(b",")
        if checked and checksum.rstrip(b"\r\n") != _checksum(text):
            raise ValueError(f"line {self.number} was changed or damaged: its checksum differs")


class ChecksummedCsv:
    """The whole lines of a file, never more than one in memory.

    A last line that was cut off was never a row: it is left out, and `end` stays before it.
    """

    def __init__(self, file: BinaryIO, checked_columns: Sequence[Sequence[str]]) -> None:
        """Read the header, which says whether the lines have checksums.

        Args:
            file: opened to read bytes.
            checked_columns: those of each schema whose lines have them.
        """
        self._file = file
        self._left = os.fstat(file.fileno()).st_size  # a file that grows is read up to here
        if not self._left:
            raise ValueError("it is empty")
        self.checked = False
        self.end, self._number = 0, 1
        line = self._next()
        if line is None:
            raise ValueError("it has no whole header line")
        text = line.text.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n")
        self.checked = text in map(header_line, checked_columns)
        self.columns = tuple(CsvLine(1, text).cells)

    def __iter__(self) -> Iterator[CsvLine]:
        """Every line below the header."""
        while line := self._next():
            yield line

    def _next(self) -> CsvLine | None:
        """The next whole line, over as many line breaks as its quotes hold."""
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
                line = CsvLine(self._number, b"".join(parts))
                self._number += len(parts)
                self.end += length
                return line
        self._require_closed_quotes(b"".join(parts))
        return None

    def _require_closed_quotes(self, rest: bytes) -> None:
        """Raise `ValueError` where more than one torn line is left: a quote was lost or made."""
        if (_ENDS_A_CHECKED_LINE if self.checked else _ENDS_A_LINE).search(rest):
            raise ValueError(f"line {self._number} was changed or damaged: a quote is not closed")
