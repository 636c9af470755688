"""The command that trains: accuracy."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convsweep.cli.common import folder, interrupted
from convsweep.cli.errors import requested, written
from convsweep.cli.options import path
from convsweep.system.signals import exit_on_interrupt

if TYPE_CHECKING:
    from convsweep.accuracy.session import StudyProgress


@click.command()
@click.option(
    "--dataset",
    "datasets",
    metavar="NAME",
    multiple=True,
    help="digits, mnist or indian_pines; may be repeated. All of them by default.",
)
@click.option("--seeds", metavar="N", type=int, help="Splits, and weights to begin with: 5.")
@click.option("--epochs", metavar="N", type=int, help="Instead of each data set's own number.")
@click.option("--threads", metavar="N", type=int, help="Threads of torch's pool: 1.")
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/accuracy-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted study in --out.")
def accuracy(
    datasets: tuple[str, ...],
    seeds: int | None,
    epochs: int | None,
    threads: int | None,
    out: Path | None,
    resume: bool,
) -> int:
    """Train small networks with standard and separable layers; compare accuracy and time.

    Real data from Python packages: pip install 'convsweep[accuracy]'. Writes accuracy.csv and
    environment.json; the same seed and threads give the same bits. Some minutes for five seeds.
    """
    from convsweep.system import forkserver

    forkserver.start()
    with exit_on_interrupt():
        from convsweep.accuracy import session

    with exit_on_interrupt(), requested():
        request = session.read_request(session.StudyOptions(datasets, seeds, threads, epochs))
        out = folder(out, resume, session.NAME)
    command = shlex.join(["convsweep", *sys.argv[1:]])
    with written(out):
        ending = session.run_study(request, out, command, _tell_progress, resume=resume)
    if ending.interrupted:
        return interrupted()
    _tell(out)
    return int(ending.failed > 0)


def _tell_progress(now: StudyProgress) -> None:
    """A line for each trial that is over."""
    first = now.rows[0]
    shares = [f"{row.variant} {row.accuracy:.1%}" for row in now.rows if row.accuracy is not None]
    said = ", ".join(shares) or f"{first.status}, {first.reason}"
    line = f"{now.done}/{now.total} {first.dataset}, seed {first.seed}: {said}"
    print(line, file=sys.stderr, flush=True)


def _tell(out: Path) -> None:
    """Print what the study found."""
    from rich.console import Console

    from convsweep.analysis.accuracy import read_study
    from convsweep.cli import terminal
    from convsweep.report.sections import accuracy_text
    from convsweep.results.accuracy_store import load

    study = read_study(load(out))
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = accuracy_text.comparison_table(study)
    if table.rows:
        console.print(terminal.listing(table.heads, table.rows))
    for sentence in accuracy_text.sentences(study):
        console.print(sentence, markup=False, highlight=False)
    print(f"Results: {out}\nReport:  convsweep report {shlex.quote(str(out))}")
