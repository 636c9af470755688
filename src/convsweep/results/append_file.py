"""A file that grows record by record: each is in it to its last byte, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class AppendOnlyFile:
    """A file open for appending; a record that couldn't be written leaves the file as it was."""

    def __init__(self, path: Path, header: bytes, end: int | None = None) -> None:
        """Make a new file, or go on with one after its first `end` bytes; the rest is cut off.

        Raises:
            OSError: where there is a file though a new one was asked for, or none can be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if end is None:
            path.open("xb").close()
        self._file = path.open("ab", buffering=0)
        self._end = end or 0
        try:
            self._cut()
            if not end:
                self.append(header, sync=True)
        except BaseException:
            self._file.close()
            raise

    def append(self, record: bytes, *, sync: bool) -> None:
        """Write one record, and where `sync` is set wait until the disk has it.

        Raises:
            OSError: as a full disk gives it; nothing of the record is left in the file.
        """
        self._cut()  # what an earlier failure could not
        try:
            self._write(record)
            if sync:
                os.fsync(self._file.fileno())
        except BaseException:  # an interrupt too: what was not acknowledged is not there
            with suppress(OSError):  # then the next append cuts, or readers skip a torn end
                self._cut()
            raise
        self._end += len(record)

    def _write(self, record: bytes) -> None:
        left = memoryview(record)
        while left:  # a disk that fills up takes a part first
            left = left[os.write(self._file.fileno(), left) :]

    def _cut(self) -> None:
        os.ftruncate(self._file.fileno(), self._end)

    def close(self) -> None:
        """Close the file; every record is in it already."""
        self._file.close()
