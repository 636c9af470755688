"""The commands that read what was measured: report, compare, export."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from convsweep.cli.errors import requested
from convsweep.cli.options import path


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=path)
@click.option("--out", metavar="DIR", type=path, help="By default reports/ and the run's name.")
@click.option("--max-error", metavar="ERROR", help="Leave out cases of a larger relative error.")
def report(run_dir: Path, out: Path | None, max_error: str | None) -> int:
    """Draw a run and write its report, from its CSV alone."""
    from convsweep.report.build import write_report
    from convsweep.units import named, read_limit

    with requested():
        limit = None if max_error is None else named("--max-error", read_limit, max_error)
        where = out or Path("reports") / run_dir.resolve().name
        page = write_report(run_dir, where, max_error=limit)
    print(f"Report: {page}")
    return 0


@click.command()
@click.argument("old", metavar="OLD", type=path)
@click.argument("new", metavar="NEW", type=path)
@click.option("--margin", metavar="SHARE", help="What counts as the same; by default as in NEW.")
@click.option("--absolute", is_flag=True, help="Compare plain times, the machine's drift included.")
@click.option("--across-machines", is_flag=True, help="Compare runs of other machines or settings.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    help="markdown is a page for a pull request.",
)
def compare(
    old: Path, new: Path, margin: str | None, absolute: bool, across_machines: bool, form: str
) -> int:
    """Say what is slower in the run NEW than in the run OLD, and how surely.

    Compares times relative to the baseline's, because the machine's drift cancels out of those.
    Exit code 1 where a case is slower, or was ok and failed.
    """
    from convsweep.analysis.compare import compare as hold_against
    from convsweep.report import comparison as changes
    from convsweep.units import fraction, named

    with requested():
        share = None if margin is None else named("--margin", fraction, margin)
        found = hold_against(
            old, new, margin=share, absolute=absolute, across_machines=across_machines
        )
    if form == "csv":
        print(found.cases.to_csv(index=False, lineterminator="\n"), end="")
    elif form == "markdown":
        print(changes.page(found))
    else:
        _show(changes.sentences(found), changes.tables(found))
    return int(found.cases["regression"].any())


def _show(sentences: Sequence[str], tables: Sequence[Any]) -> None:
    """Print what a terminal shows of a comparison."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table, "")
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)


@click.command()
@click.argument("run_dir", metavar="RUN", type=path)
@click.option("--format", "form", metavar="FORMAT", required=True, help="pytest-benchmark or csv.")
@click.option("--out", metavar="FILE", type=path, help="A new file; by default it is printed.")
def export(run_dir: Path, form: str, out: Path | None) -> int:
    """Write a run as pytest-benchmark's JSON, or as one table for a dashboard."""
    from convsweep.report.export import export as as_text
    from convsweep.report.export import write_new

    with requested():
        text = as_text(run_dir, form)
        if out is not None:
            write_new(out, text)
    print(text, end="") if out is None else print(f"Export: {out}")
    return 0
