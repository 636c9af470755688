"""Text output that several commands share; imports neither torch nor pandas."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsweep.formatting import printable
from convsweep.system.signals import EXIT_CODE, ignore_interrupts

if TYPE_CHECKING:
    from convsweep.cli.console import DataConsole
    from convsweep.report.table import Table

MAX_ROWS = 36
MAX_WIDTH = 100
_MAX_FAILURES = 5
FAILED = ("mismatch", "crash", "error")  # Statuses that give exit code 1


def say(*lines: str, error: bool = False) -> None:
    """Print lines on stdout, or on stderr; a name in them is data and can't end its line."""
    text = "".join(f"{printable(line)}\n" for line in lines)
    print(text, end="", file=sys.stderr if error else sys.stdout, flush=True)


def print_text(text: str) -> None:
    """Print a text of several lines, such as a CSV table."""
    say(*text.removesuffix("\n").split("\n"))


def console(width: int = MAX_WIDTH) -> DataConsole:
    """Return a console on stdout: as wide as the terminal, and at most `width`."""
    from convsweep.cli.console import DataConsole

    wide = DataConsole().width if sys.stdout.isatty() else width
    return DataConsole(width=min(wide, width))


def print_table(
    table: Table,
    styles: Mapping[str, str] | None = None,
    width: int = MAX_WIDTH,
    rest: str = "",
) -> None:
    """Print a table, or only its first rows if there is a file with the rest.

    `styles` maps the text of the last cell to the row's style.
    """
    from rich.table import Table as RichTable

    table, printed = table.filled, RichTable(box=None, pad_edge=False)
    for number, head in enumerate(table.heads):
        justify: Any = "right" if head in table.right else "left"
        printed.add_column(head, justify=justify, no_wrap=number == 0, overflow="fold")
    for row in table.rows[: MAX_ROWS if rest else None]:
        printed.add_row(*row, style=(styles or {}).get(row[-1], ""))
    console(width).print(printed)
    if (more := len(table.rows) - printed.row_count) > 0:
        say(f"{more} more rows: {rest}")


def print_sentences(sentences: Iterable[str], width: int = MAX_WIDTH) -> None:
    """Print each sentence on a line of its own, wrapped unless it is a command to copy."""
    target = console(width)
    for sentence in sentences:
        target.print(sentence, soft_wrap=": convsweep " in sentence)


def print_failures(cases: Iterable[tuple[str, str, str, str | None]]) -> int:
    """Print a few failed cases of (status, backend, problem, reason); return how many failed."""
    lines = [f"{s}: {backend} on {problem}: {why}" for s, backend, problem, why in cases
             if s in FAILED]  # fmt: skip
    more = len(lines) - _MAX_FAILURES
    say(*lines[:_MAX_FAILURES], *([f"and {more} more failed"] if more > 0 else []))
    return len(lines)


def print_paths(out: Path, has_report: bool = True) -> None:
    """Print where the results are, and the command that reports them."""
    argument = shlex.quote(f"./{out}" if str(out).startswith("-") else str(out))  # no option
    say(f"Results: {out}", *[f"Report:  convsweep report {argument}"][:has_report])


def command_line() -> str:
    """Return the command line, for environment.json."""
    return shlex.join(["convsweep", *sys.argv[1:]])


def interrupted(out: Path) -> int:
    """Print how to resume the run in `out`; return the exit code of an interrupted run."""
    ignore_interrupts()
    options = shlex.join(["--out", str(out), "--resume"])
    say(f"convsweep: interrupted; repeat the command with {options} to continue", error=True)
    return EXIT_CODE


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """End the command if it is interrupted within; print how to resume the run in `out`."""
    try:
        yield
    except KeyboardInterrupt:
        if not out.exists():
            raise
        raise click.exceptions.Exit(interrupted(out)) from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Within, garbage is not searched for, which takes a tenth of a command of few seconds."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def one_line_errors(out: Path | None = None) -> Iterator[None]:
    """End the command if a request or a file is invalid, or if `out` cannot be written."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        text = str(error) if out is None else f"cannot write {str(out)!r}: {error.strerror}"
        raise click.ClickException(text) from None
