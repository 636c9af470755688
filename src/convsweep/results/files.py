"""Reading of files that anyone may have edited, and writing in one step."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".part"  # Ending of a file that is not yet complete
_WRONG = (ValueError, TypeError, OverflowError, RecursionError, OSError, csv.Error, zlib.error)


@contextmanager
def open_checked(path: Path, kind: str, largest: int) -> Iterator[BinaryIO]:
    """Open the regular file at `path` of at most `largest` bytes for reading.

    Raises:
        ValueError: in one line that names the file and the error, also of reading it in the block.
    """
    try:
        if not path.is_file():  # opening a pipe would block
            raise ValueError("no regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise ValueError(f"its {size} bytes are more than {largest}")
            yield file
    except _WRONG as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ValueError(f"{str(path)!r} is not {kind}: {reason}") from None


def replace_file(path: Path, text: str) -> None:
    """Write the whole file and wait until the disk has it; after an error the old one is there."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
