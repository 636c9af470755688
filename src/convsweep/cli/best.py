"""The command `best`."""

from __future__ import annotations

from pathlib import Path

import click

from convsweep.cli import options, output
from convsweep.cli.errors import one_line_errors


@click.command()
@click.argument("run_dir", metavar="RUN", type=options.path)
@options.max_error
@options.table_format("csv prints the content of best.csv.")
def best(run_dir: Path, max_error: str | None, form: str) -> int:
    """Find the fastest backend of each problem in RUN, and write best.csv.

    Only backends that passed the correctness gate are candidates. With --max-error their relative
    error, max|y - reference| / max|reference|, is limited too. best.csv is written into the run's
    folder and names the machine and versions it is valid for. convsweep.optimize reads it.
    """
    from convsweep.analysis.best_backend import read_best_backends
    from convsweep.report.best_backend import best_table, sentences
    from convsweep.report.tables import markdown
    from convsweep.results.best_csv import as_csv, keep
    from convsweep.units import named, read_limit

    with one_line_errors():
        limit = None if max_error is None else named("--max-error", read_limit, max_error)
        found = read_best_backends(run_dir, limit)
        written = keep(run_dir, found.table)
    if form == "csv":
        print(as_csv(found.table), end="")
        return 0
    if form == "markdown":
        print(markdown(best_table(found.table)), end="")
    else:
        output.print_table(best_table(found.table), width=160)
    print(*sentences(found), f"Table: {written}", sep="\n")
    return 0
