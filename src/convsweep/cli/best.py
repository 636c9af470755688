"""The command that says which backend to use: best."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convsweep.cli.errors import requested
from convsweep.cli.options import path

if TYPE_CHECKING:
    from convsweep.report.tables import Table


@click.command()
@click.argument("run_dir", metavar="RUN", type=path)
@click.option("--max-error", metavar="NUMBER", help="The largest relative error, such as 1e-5.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    help="csv is what best.csv holds.",
)
def best(run_dir: Path, max_error: str | None, form: str) -> int:
    """Say which backend is the fastest of each problem in RUN, and write its best.csv.

    Only backends whose answers are right take part; with --max-error, those alone whose relative
    error max|y - true y| / max|true y| is no larger. best.csv lies in the run's folder and names
    the machine and the versions that it holds for; convsweep.optimize takes it.
    """
    from convsweep.analysis.best_backend import best_of
    from convsweep.report.best_backend import best_table, sentences
    from convsweep.report.tables import markdown
    from convsweep.results.best_csv import as_csv, keep
    from convsweep.units import named, read_limit

    with requested():
        limit = None if max_error is None else named("--max-error", read_limit, max_error)
        found = best_of(run_dir, limit)
        written = keep(run_dir, found.table)
    if form == "csv":
        print(as_csv(found.table), end="")
        return 0
    if form == "markdown":
        print(markdown(best_table(found.table)), end="")
    else:
        _show(best_table(found.table))
    print(*sentences(found), f"Table: {written}", sep="\n")
    return 0


def _show(table: Table) -> None:
    """Print the rows as a terminal shows them."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False)
    for head in table.heads:
        shown.add_column(head, justify="right" if head in table.right else "left")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 160).print(shown)
