"""The command `merge`."""

from __future__ import annotations

from pathlib import Path

import click

from convsweep.cli import options, output
from convsweep.cli.errors import one_line_errors


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

    with one_line_errors():
        merged = merge_runs(runs, out, output.command_line())
    environment = merged.environment
    sources = formatting.count(len(machines(environment)), "environment")
    size = (formatting.count(merged.cases, "case"), formatting.count(environment["rows"], "row"))
    output.say(f"Merged {len(runs)} runs of {sources}: {', '.join(size)}")
    output.say(*lacks(environment))
    output.print_paths(out)
    return 0
