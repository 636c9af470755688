"""Reading of files that anyone may have edited, and writing in one step."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from convsweep.formatting import spreadsheet_cell

if TYPE_CHECKING:
    from pandas import DataFrame

_AT_ONCE = 1000  # rows
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


def replace_file(path: Path, text: str | Iterable[str]) -> None:
    """Write the whole text or its parts and wait for the disk; an error leaves the old file."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        unfinished.unlink(missing_ok=True)  # it may be a link
        with unfinished.open("x", encoding="utf-8", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def complete_or_absent(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes `out` at the end, or is removed after an exception.

    If `out` has files, those of the same names are replaced at the end, and no link is followed.
    """
    out = out.resolve()
    parent = next(path for path in out.parents if path.exists())
    if out.is_dir() and (os.path.ismount(out) or not os.access(parent, os.W_OK)):
        parent = out
    with TemporaryDirectory(prefix=".convsweep-", dir=parent) as beside:
        folder = Path(beside) / "new"
        folder.mkdir()
        yield folder
        out.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # in one step if it is empty
            folder.rename(out)
            return
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = out / path.relative_to(folder)
            if target.parent.is_symlink():
                target.parent.unlink()
            target.parent.mkdir(exist_ok=True)
            path.replace(target)


def spreadsheet_csv(table: DataFrame) -> str:
    """Return a table as CSV with one line per row; no cell is a formula."""
    return "".join(spreadsheet_parts(table))


def spreadsheet_parts(table: DataFrame) -> Iterator[str]:
    """Yield `spreadsheet_csv` in parts."""

    def cell(value: Any) -> Any:
        return spreadsheet_cell(value) if isinstance(value, str) else value

    names = table.select_dtypes(exclude=["number", "bool"]).columns
    for start in range(0, max(1, len(table)), _AT_ONCE):  # few texts are in memory at once
        part = table[start : start + _AT_ONCE]
        shown = part.assign(**{str(name): part[name].map(cell) for name in names})
        yield shown.to_csv(index=False, lineterminator="\n", header=not start)
