"""Files and errors that may be anything: opened or refused by name, and told in a line."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_WRONG = (ValueError, TypeError, OverflowError, RecursionError, OSError, zlib.error)


@contextmanager
def open_checked(path: Path, kind: str, largest: int) -> Iterator[BinaryIO]:
    """The regular file at `path` of at most `largest` bytes, open for reading.

    Raises:
        ValueError: in one line that names the file and what is wrong, also for whatever reading
            it raises inside the block.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("no regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise ValueError(f"its {size} bytes are more than {largest}")
            yield file
    except _WRONG as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ValueError(f"{str(path)!r} is not {kind}: {reason}") from None
