"""samples.csv.gz: every sample behind every row, so that all can be computed again.

Columns `row, block, seconds`: the row of measurements.csv counted from 0, the block within its
pass, and seconds a call. The header and each row's samples are one gzip member each, and members
that follow each other are one gzip file, which pandas and zcat read. A row's samples are in the
file before the row is in measurements.csv, so after any end there is at most one member too many.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
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
"""Bytes; no reader holds them at once."""
LONGEST_MEMBER = 8_388_608
"""Bytes of text that a reader takes of one gzip member."""
MOST_SAMPLES = 8_000_000
"""What `load_samples` takes into memory, at 24 bytes each; pandas reads more, part by part."""

_KIND = "a samples file"
_GZIP = 31  # zlib's window bits for a gzip member with a checksum
_IN_A_MEMBER = 100_000  # samples, far more than a row has
_READ = 65_536  # bytes
_AT_ONCE = 1_048_576  # bytes of text that are parsed together


class Samples:
    """The open `samples.csv.gz` of a run; complete whenever `append` has returned."""

    def __init__(self, run_dir: Path, resume: bool = False, rows: int = 0) -> None:
        """Make the file, or with `resume` go on with the samples of the first `rows` rows.

        Raises:
            ValueError: in one line, where `resume` finds a damaged file.
        """
        path = run_dir / SAMPLES
        self._journal = AppendOnlyFile(
            path, _member(HEADER), _end_of(path, rows) if resume else None
        )

    def append(self, row_number: int, blocks: Sequence[Sequence[float]]) -> None:
        """Write the samples of one row, before the row itself; none is nothing.

        Raises:
            OSError: as a full disk gives it; the file is then as it was before.
        """
        lines = [
            f"{row_number},{block},{float(seconds)!r}\n"
            for block, samples in enumerate(blocks)
            for seconds in samples
        ]
        for first in range(0, len(lines), _IN_A_MEMBER):
            text = "".join(lines[first : first + _IN_A_MEMBER])
            self._journal.append(_member(text.encode()), sync=False)

    def take(self, run_dir: Path, places: Sequence[int | None]) -> None:
        """Write the samples of another run's rows, each under its new number in `places`.

        Those of a row without one are left out. Never more than a row's samples are in memory.

        Raises:
            ValueError: in one line, where the other file is damaged.
            OSError: as `append`.
        """
        path = run_dir / SAMPLES
        if not os.path.lexists(path):
            return
        with open_checked(path, _KIND, LARGEST_FILE) as file:
            members = (member for member in _members(file) if member.row >= 0)
            for member in members:
                place = places[member.row] if member.row < len(places) else None
                if place is not None:
                    self._journal.append(_member(member.numbered(place)), sync=False)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def load_samples(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Every sample of a run: `row`, `block`, `seconds`; a run that kept none gives no rows.

    Raises:
        ValueError: in one line, where the file is damaged or holds more than `MOST_SAMPLES`.
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
    """Where the samples of the first `rows` rows end; 0 where the header isn't whole."""
    if not os.path.lexists(path):
        return 0
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        kept = takewhile(lambda member: member.row < rows, _members(file))
        return max((member.end for member in kept), default=0)


@dataclass(frozen=True)
class _Member:
    """The text of one gzip member, and the bytes of the file up to its end."""

    text: bytes
    end: int

    @property
    def row(self) -> int:
        """The row whose samples these are; the header stands before them all."""
        return -1 if self.text == HEADER else int(self.text.partition(b",")[0])

    def numbered(self, row: int) -> bytes:
        """The text as that of another row."""
        return (b"\n" + self.text).replace(b"\n%d," % self.row, b"\n%d," % row)[1:]


def _member(text: bytes) -> bytes:
    gzip = zlib.compressobj(wbits=_GZIP)
    return gzip.compress(text) + gzip.flush()


_MAGIC = _member(b"")[:8]  # it holds no time and no name, so every member begins alike


def _members(file: BinaryIO) -> Iterator[_Member]:
    """Every whole member; a last one that was cut off is left out."""
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
    """The text of the member that begins here, or None where it doesn't end."""
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
    """The texts below the header, several at a time: one call to pandas costs more than a row."""
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
