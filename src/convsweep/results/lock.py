"""Lock of a run's folder, which the kernel releases however its owner ends."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"  # Locked file in a run's folder; contains the process id of its owner


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock `run_dir` against other runs; create it if necessary.

    Raises:
        ValueError: in one line, if another run is writing there or no file can be created.
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
        with suppress(OSError):  # on a full disk the lock works without it
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):  # a file that stays behind locks nothing
            path.unlink()
        lock.release()
        if new:
            with suppress(OSError):  # removed only while it is empty
                run_dir.rmdir()


def require_unlocked(run_dir: Path) -> None:
    """Raise `ValueError` in one line if another run is writing to `run_dir`.

    The lock file of a killed run is removed.
    """
    if (run_dir / LOCK).exists():
        with locked(run_dir):
            pass


def _owner(path: Path) -> str:
    """Return the process id of the owner for a message; empty if unknown."""
    try:
        number = re.fullmatch(r"(\d{1,10})\n", path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return f" (process {number[1]})" if number else ""
