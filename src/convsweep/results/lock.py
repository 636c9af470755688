"""One writer a run: a lock that the kernel gives back however its holder ends."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
"""The file in a run's folder that is locked; it holds its owner's process number."""


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keep every other run out of `run_dir`, which is made where it isn't there.

    Raises:
        ValueError: in one line, where another run is writing there or no file can be made.
    """
    from filelock import FileLock, Timeout  # a tenth of a second that `--help` does not wait for

    path, new = run_dir / LOCK, not run_dir.exists()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{str(run_dir)!r} is being written by another run{_owner(path)}"
        ) from None
    except OSError as error:
        raise ValueError(f"{str(run_dir)!r} can't be written: {error.strerror}") from None
    try:
        with suppress(OSError):  # on a full disk the lock holds without it
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):  # one that stays behind locks nothing
            path.unlink()
        lock.release()
        if new:
            with suppress(OSError):  # it goes only while nothing is in it
                run_dir.rmdir()


def require_unlocked(run_dir: Path) -> None:
    """Raise `ValueError` in one line where another run is writing to `run_dir`.

    A lock that was left behind by one that was killed goes.
    """
    if (run_dir / LOCK).exists():
        with locked(run_dir):
            pass


def _owner(path: Path) -> str:
    """The number of the process that holds the lock, for a message; nothing where unknown."""
    try:
        number = re.fullmatch(r"(\d{1,10})\n", path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return f" (process {number[1]})" if number else ""
