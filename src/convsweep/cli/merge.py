"""The command that puts runs of one request together: merge."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from convsweep.cli.errors import requested
from convsweep.cli.options import path


@click.command()
@click.argument("runs", metavar="RUN...", type=path, nargs=-1)
@click.option("--out", metavar="DIR", type=path, required=True, help="A new folder.")
def merge(runs: tuple[Path, ...], out: Path) -> int:
    """Merge runs of one request into a new run: its shards, or the same on other machines.

    Takes only what was asked and measured alike, and has no case of one machine twice. Rows keep
    the run and the machine that they come from, and machines are never compared within one figure.
    """
    from convsweep import formatting
    from convsweep.results.machines import lacks, machines
    from convsweep.sweep.merge import merge as put_together

    with requested():
        merged = put_together(runs, out, shlex.join(["convsweep", *sys.argv[1:]]))
    told = merged.environment
    print(
        f"Merged {len(runs)} runs of {formatting.count(len(machines(told)), 'environment')}: "
        f"{formatting.count(merged.cases, 'case')}, {formatting.count(told['rows'], 'row')}"
    )
    for sentence in lacks(told):
        print(sentence)
    print(f"Results: {out}\nReport:  convsweep report {shlex.quote(str(out))}")
    return 0
