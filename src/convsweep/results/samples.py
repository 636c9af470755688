"""samples.csv.gz: every sample behind every row, so that all numbers can be computed again.

Columns `row, block, seconds`: number of the row in measurements.csv from 0, number of the block in
its pass, and seconds per call. The header and the samples of each row are one gzip member each;
joined they are one gzip file, which pandas and zcat read. The samples of a row are written before
the row itself, so an interrupted run has at most one member too many.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.files import open_checked

SAMPLES = "samples.csv.gz"
HEADER = b"row,block,seconds\n"
LARGEST_FILE = 1_073_741_824  # Bytes; no reader has all of them in memory
LONGEST_MEMBER = 8_388_608  # Bytes of text that a reader accepts in one gzip member

_GZIP = 31  # zlib's window bits for a gzip member with a checksum
_IN_A_MEMBER = 100_000  # samples, far more than a row has
_READ = 65_536  # bytes


class SampleWriter:
    """Open samples.csv.gz of a run. Samples are in the file when `append` returns."""

    def __init__(self, run_dir: Path, kept_rows: int | None = None) -> None:
        """Create the file, or append to it behind the samples of the first `kept_rows` rows.

        Raises:
            ValueError: in one line, if a file to be resumed is damaged.
        """
        path, end = run_dir / SAMPLES, None
        if kept_rows is not None:
            with open_samples(path) as members:
                kept = takewhile(lambda member: member.row < kept_rows, members)
                end = max((member.end for member in kept), default=0)
        self._file = AppendOnlyFile(path, _compress(HEADER), end)

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
            self._file.append(_compress(text.encode()), sync=False)

    def copy(self, run_dir: Path, numbers: Mapping[int, int]) -> None:
        """Write the samples of another run; `numbers` has the new number of each row to copy.

        Raises:
            ValueError: in one line, if the other file is damaged.
            OSError: as `append`.
        """
        with open_samples(run_dir / SAMPLES) as members:
            for row, text, _ in members:
                if row in numbers:
                    lines = (b"\n" + text).replace(b"\n%d," % row, b"\n%d," % numbers[row])[1:]
                    self._file.append(_compress(lines), sync=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Member(NamedTuple):
    """Samples of one row: text of a gzip member, and the bytes of the file up to its end."""

    row: int
    text: bytes
    end: int


@contextmanager
def open_samples(path: Path) -> Iterator[Iterator[Member]]:
    """Open the samples at `path`; none if there is no file."""
    if not os.path.lexists(path):
        yield iter(())
        return
    with open_checked(path, "a samples file", LARGEST_FILE) as file:
        yield _members(file)


def _members(file: BinaryIO) -> Iterator[Member]:
    """Yield every whole member below the header; a last one that was cut off is left out."""
    end = 0
    while (text := _unzipped(file)) is not None:
        if (text == HEADER) != (end == 0):
            raise ValueError("its header is not at its head")
        start, end = end, file.tell()
        if start:
            yield Member(int(text.partition(b",")[0]), text, end)
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


def _compress(text: bytes) -> bytes:
    return zlib.compress(text, wbits=_GZIP)


_MAGIC = _compress(b"")[:8]  # without a time or a name, all begin alike
