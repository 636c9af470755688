"""samples.csv.gz: every sample behind every row, so that all numbers can be computed again.

Columns `row, block, seconds`: number of the row in measurements.csv from 0, number of the block in
its pass, and seconds per call. The header and the samples of each row are one gzip member each;
joined they are one gzip file, which pandas and zcat read. The samples of a row are written before
the row itself, so an interrupted run has at most one member too many.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.files import open_checked

if TYPE_CHECKING:
    from pandas import DataFrame

SAMPLES = "samples.csv.gz"
HEADER = b"row,block,seconds\n"
LARGEST_FILE = 1_073_741_824
"""Bytes; no reader has all of them in memory."""
LONGEST_MEMBER = 8_388_608
"""Bytes of text that a reader accepts in one gzip member."""
MOST_SAMPLES = 8_000_000
"""Limit of `load_samples`, at 24 bytes each in memory; pandas reads more in parts."""

_KIND = "a samples file"
_GZIP = 31  # zlib's window bits for a gzip member with a checksum
_IN_A_MEMBER = 100_000  # samples, far more than a row has
_READ = 65_536  # bytes
_AT_ONCE = 1_048_576  # bytes of text that are parsed together


class SampleWriter:
    """Open samples.csv.gz of a run. Samples are in the file when `append` returns."""

    def __init__(self, run_dir: Path, kept_rows: int | None = None) -> None:
        """Create the file, or append to it behind the samples of the first `kept_rows` rows.

        Raises:
            ValueError: in one line, if a file to be resumed is damaged.
        """
        path = run_dir / SAMPLES
        end = None if kept_rows is None else _end_of(path, kept_rows)
        self._file = AppendOnlyFile(path, _member(HEADER), end)

    def append(self, row_number: int, blocks: Sequence[Sequence[float]]) -> None:
        """Write the samples of one row, before the row itself.

        Raises:
            OSError: such as a full disk; the file is then unchanged.
        """
        lines = [
            f"{row_number},{block},{float(seconds)!r}\n"
            for block, samples in enumerate(blocks)
            for seconds in samples
        ]
        for first in range(0, len(lines), _IN_A_MEMBER):
            text = "".join(lines[first : first + _IN_A_MEMBER])
            self._file.append(_member(text.encode()), sync=False)

    def copy(self, run_dir: Path, numbers: Mapping[int, int]) -> None:
        """Write the samples of another run; `numbers` has the new number of each row to copy.

        Raises:
            ValueError: in one line, if the other file is damaged.
            OSError: as `append`.
        """
        path = run_dir / SAMPLES
        if not os.path.lexists(path):
            return
        with open_checked(path, _KIND, LARGEST_FILE) as file:
            for member in _members(file):
                if member.row in numbers:
                    self._file.append(_member(member.numbered(numbers[member.row])), sync=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def load_samples(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Return every sample of a run: `row`, `block`, `seconds`; no rows if there is no file.

    Raises:
        ValueError: in one line, if the file is damaged or has more than `MOST_SAMPLES`.
    """
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    path = Path(run_dir) / SAMPLES
    if not os.path.lexists(path):
        return _table(HEADER)
    parts, count = [], 0
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        for text in _joined(member.text for member in _members(file)):
            parts.append(_table(HEADER + text))
            count += len(parts[-1])
            if count > MOST_SAMPLES:
                raise ValueError(f"more than {MOST_SAMPLES} samples")
    return pd.concat(parts, ignore_index=True)


def _end_of(path: Path, rows: int) -> int:
    """Return the bytes up to the end of the samples of the first `rows` rows."""
    if not os.path.lexists(path):
        return 0
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        kept = takewhile(lambda member: member.row < rows, _members(file))
        return max((member.end for member in kept), default=0)


@dataclass(frozen=True)
class _Member:
    """Text of one gzip member, and the bytes of the file up to its end."""

    text: bytes
    end: int

    @property
    def row(self) -> int:
        """Number of the row; -1 for the header."""
        return -1 if self.text == HEADER else int(self.text.partition(b",")[0])

    def numbered(self, row: int) -> bytes:
        """Return the text with another row number."""
        return (b"\n" + self.text).replace(b"\n%d," % self.row, b"\n%d," % row)[1:]


def _member(text: bytes) -> bytes:
    gzip = zlib.compressobj(wbits=_GZIP)
    return gzip.compress(text) + gzip.flush()


_MAGIC = _member(b"")[:8]  # it holds no time and no name, so every member begins alike


def _members(file: BinaryIO) -> Iterator[_Member]:
    """Yield every whole member; a last one that was cut off is left out."""
    end = 0
    while (text := _unzipped(file)) is not None:
        if (text == HEADER) != (end == 0):
            raise ValueError("its header is not at its head")
        end = file.tell()
        yield _Member(text, end)
    file.seek(end + 1)
    if _MAGIC in file.read(2 * LONGEST_MEMBER):
        raise ValueError("one of its members is damaged")


def _unzipped(file: BinaryIO) -> bytes | None:
    """Return the text of the member that begins here, or None if its end is missing."""
    gzip = zlib.decompressobj(_GZIP)
    text = b""
    while not gzip.eof:
        packed = gzip.unconsumed_tail or file.read(_READ)
        if not packed:
            return None
        text += gzip.decompress(packed, LONGEST_MEMBER + 1 - len(text))
        if len(text) > LONGEST_MEMBER:
            raise ValueError(f"more than {LONGEST_MEMBER} bytes in one member")
    file.seek(-len(gzip.unused_data), os.SEEK_CUR)
    return text


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Join the texts below the header, because a call to pandas per row is slow."""
    joined = bytearray()
    for text in texts:
        joined += text if text != HEADER else b""
        if len(joined) > _AT_ONCE:
            yield bytes(joined)
            joined.clear()
    yield bytes(joined)


def _table(text: bytes) -> DataFrame:
    import pandas as pd

    types = {"row": "int64", "block": "int64", "seconds": "string"}
    frame = pd.read_csv(io.BytesIO(text), dtype=types)
    return frame.astype({"seconds": "float64"})  # to the last bit, which reading as float is not
