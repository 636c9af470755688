"""A file that grows by records, each of which is in it completely or not at all."""

import os
from contextlib import suppress
from pathlib import Path


class AppendOnlyFile:
    """File open for appending. A failed append leaves it unchanged."""

    def __init__(self, path: Path, header: bytes, end: int | None = None) -> None:
        """Create the file, or append to it behind its first `end` bytes; the rest is cut off.

        Raises:
            OSError: `end` is None and the file exists, or it can't be written.
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
        """Write one record; with `sync` wait until the disk has it.

        Raises:
            OSError: such as a full disk; nothing of the record is left in the file.
        """
        self._cut()  # an earlier failure may have left a part
        left = memoryview(record)
        try:
            while left:  # a disk that fills up writes a part
                left = left[os.write(self._file.fileno(), left) :]
            if sync:
                os.fsync(self._file.fileno())
        except BaseException:  # an interrupt too: an unacknowledged record is not there
            with suppress(OSError):  # the next append cuts again, and readers skip a torn end
                self._cut()
            raise
        self._end += len(record)

    def _cut(self) -> None:
        os.ftruncate(self._file.fileno(), self._end)

    def close(self) -> None:
        """Close the file; every record is in it already."""
        self._file.close()
