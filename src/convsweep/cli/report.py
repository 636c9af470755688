"""The commands that read runs: report, show, compare, best, merge, export."""

from pathlib import Path
from typing import Any

import click

from convsweep.cli import options, output


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=options.path)
@options.out("Folder of the report (default reports/RUN).")
@options.max_error
@click.option("--with", "others", metavar="RUN", type=options.path, multiple=True,
              help="Noise run, accuracy study or repetition: three runs show drift.")  # fmt: skip
def report(run_dir: Path, out: Path | None, max_error: str | None, others: tuple[Path, ...]) -> int:
    """Write a run's report and figures, from its files alone."""
    with output.uncollected(), output.one_line_errors():
        from convsweep.report.build import write_report
        from convsweep.units import named, read_limit

        limit = named("--max-error", read_limit, max_error)
        folder = out or Path("reports") / run_dir.resolve().name
        page = write_report(run_dir, folder, max_error=limit, others=others)
    output.say(f"Report: {page}")
    return 0


@click.command()
@click.argument("run_dir", metavar="RUN", type=options.path)
@click.argument("words", metavar="CASE...", nargs=-1, required=True)
def show(run_dir: Path, words: tuple[str, ...]) -> int:
    """Print all values of one case, and the command that measures it again.

    CASE is the number of its row in summary.csv, the first below the header being 1, or words that
    only this case has: its label, problem, backend, layer or settings, or pieces of them.
    """
    from convsweep.analysis.summary import summarize
    from convsweep.report.one_case import case_table, command, find_cases
    from convsweep.results.store import RunFolder

    with output.one_line_errors():
        folder = RunFolder(run_dir)
        request = folder.request
        summary = summarize(folder.measurements, request.baseline, request.margin)
        found = find_cases(summary, words)
        if len(found) > 1:
            shown = found[["row", "label", "backend", "role", "setting"]].head(output.MAX_ROWS)
            output.print_text(shown.to_string(index=False))
            raise ValueError(f"{' '.join(words)!r} fits {len(found)} cases; add a word")
    [row] = found.to_dict("records")
    output.print_table(case_table(row, folder.measurements))
    output.print_sentences([command(row, folder.environment)])
    return 0


@click.command()
@click.argument("old", metavar="OLD", type=options.path)
@click.argument("new", metavar="NEW", type=options.path)
@click.argument("later", metavar="[RUN]...", type=options.path, nargs=-1)
@click.option("--margin", metavar="SHARE", help="Smallest relevant change (default: as in NEW).")
@options.several(
    "--fail-on",
    "case_margins",
    "Margin of single cases: backend=im2col:10%, problem=C64*:5%, threads=2,dtype=float16:20%.",
    metavar="KEY=NAME:SHARE",
)
@click.option("--absolute", is_flag=True, help="Compare plain times, including machine drift.")
@click.option("--allow-missing", is_flag=True, help="Accept missing cases and unfinished runs.")
@options.across_machines
@options.table_format("markdown suits a pull request.")
@options.out("Folder for comparison.md, and trend.png of more than two runs.")
def compare(
    old: Path,
    new: Path,
    later: tuple[Path, ...],
    margin: str | None,
    case_margins: tuple[str, ...],
    allow_missing: bool,
    form: str,
    out: Path | None,
    **chosen: Any,
) -> int:
    """Test which cases are slower in run NEW than in run OLD.

    Compares speedups over the baseline, which cancels most of the machine's drift. Exit code 0 if
    at least one case was compared, none is slower or failed, and none is missing or unfinished; 1
    if a case is slower, or was ok and failed now; else 3.

    Of more than two runs, in the order of time, each is compared with the first and with the one
    before. The exit code is that of the last run against the first, so that many small steps
    add up; for the latest step alone, compare the last two runs.
    """
    from convsweep.analysis.case_margins import read_case_margin
    from convsweep.analysis.compare import compare_runs
    from convsweep.report import trend
    from convsweep.results.files import spreadsheet_csv
    from convsweep.results.store import require_writable
    from convsweep.units import fraction, named

    with output.one_line_errors():
        share = named("--margin", fraction, margin)
        if out is not None:
            require_writable(out)
        margins = [*map(read_case_margin, case_margins)]
        found = compare_runs((old, new, *later), margin=share, case_margins=margins, **chosen)
        if out is not None:
            trend.write(out, found, allow_missing=allow_missing)
    if form == "csv":
        output.print_text(spreadsheet_csv(trend.all_cases(found)))
    elif form == "markdown":
        output.print_text(trend.page(found, allow_missing=allow_missing))
    else:
        for table in filter(lambda table: table.rows, trend.tables(found)):
            output.print_table(table, _STYLES, width=trend.WIDTH)
            output.say("")
        output.print_sentences(trend.sentences(found, allow_missing=allow_missing), trend.WIDTH)
    return found.to_first[-1].exit_code(allow_missing=allow_missing)


_STYLES = {"slower": "bold red", "faster": "green", "undecided": "dim"}


@click.command()
@click.argument("run_dir", metavar="RUN", type=options.path)
@options.max_error
@options.table_format("csv prints the content of best.csv.")
def best(run_dir: Path, max_error: str | None, form: str) -> int:
    """Find the fastest backend of each problem; write best.csv.

    Only backends that passed the correctness gate are candidates. With --max-error their relative
    error, max|y - reference| / max|reference|, is limited too. best.csv is written into the run's
    folder and names the machine and versions it is valid for. convsweep.optimize reads it.
    """
    from convsweep.analysis.best_backend import read_best_backends
    from convsweep.report.best_backend import best_table, sentences
    from convsweep.report.next_commands import note_wide_intervals
    from convsweep.report.tables import markdown
    from convsweep.results.best_csv import best_csv, write_best
    from convsweep.results.store import RunFolder
    from convsweep.units import named, read_limit

    with output.one_line_errors():
        limit = named("--max-error", read_limit, max_error)
        found = read_best_backends(run_dir, limit)
        written = write_best(run_dir, found.table)
    if form == "csv":
        output.print_text(best_csv(found.table))
        return 0
    if form == "markdown":
        output.print_text(markdown(best_table(found.table)))
    else:
        output.print_table(best_table(found.table), rest="best.csv")
    notes = note_wide_intervals(RunFolder(run_dir), best_table(found.table))
    output.print_sentences([*sentences(found), *notes])
    output.say(f"Table: {written}")
    return 0


@click.command()
@click.argument("runs", metavar="RUN...", type=options.path, nargs=-1)
@click.option("--out", metavar="DIR", type=options.path, required=True, help="New folder.")
def merge(runs: tuple[Path, ...], out: Path) -> int:
    """Merge shards of one request, or its runs on several machines.

    Stops with an error if the runs have different requests or settings, are unfinished, or
    contain the same case twice. Rows keep their run and machine. Results of different machines
    are never compared within one figure.
    """
    from convsweep import formatting
    from convsweep.results.machines import lacks, machines
    from convsweep.sweep.merge import merge as merge_runs

    with output.one_line_errors():
        merged = merge_runs(runs, out, output.command_line())
    environment = merged.environment
    sources = formatting.count(len(machines(environment)), "environment")
    size = (formatting.count(merged.cases, "case"), formatting.count(environment["rows"], "row"))
    output.say(f"Merged {len(runs)} runs of {sources}: {', '.join(size)}")
    output.say(*lacks(environment))
    output.print_paths(out)
    return 0


@click.command()
@click.argument("run_dir", metavar="RUN", type=options.path)
@click.option("--format", "form", metavar="FORMAT", required=True, help="pytest-benchmark or csv.")
@click.option("--out", metavar="FILE", type=options.path, help="New file (default: print).")
def export(run_dir: Path, form: str, out: Path | None) -> int:
    """Export a run as pytest-benchmark's JSON, or as one CSV table."""
    from convsweep.report.export import export as as_text
    from convsweep.report.export import write_new

    with output.one_line_errors():
        text = as_text(run_dir, form)
        if out is not None:
            write_new(out, text)
    output.print_text(text) if out is None else output.say(f"Export: {out}")
    return 0
