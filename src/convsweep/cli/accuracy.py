"""The command `accuracy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsweep.cli import options, output
from convsweep.cli.sweep_command import run_folder
from convsweep.formatting import digits
from convsweep.system import forkserver
from convsweep.system.signals import exit_on_interrupt

if TYPE_CHECKING:
    from convsweep.accuracy.session import StudyProgress


@click.command()
@options.several(
    "--dataset", "datasets", "Data set: digits, mnist or indian_pines (default: all three)."
)
@click.option("--seeds", metavar="N", type=int, help="Number of splits and initializations (5).")
@click.option("--epochs", metavar="N", type=int, help="Epochs, in place of each data set's own.")
@click.option("--threads", metavar="N", type=int, help="Number of threads (default 1).")
@options.out("New folder (default results/accuracy-TIME).")
@options.resume
def accuracy(out: Path | None, resume: bool, **chosen: Any) -> int:
    """Compare accuracy and time of standard and separable layers.

    Trains small networks of both. The data come from Python packages, installed by pip install
    'convsweep[accuracy]'. Writes accuracy.csv and environment.json. The same seed and threads give
    bit-identical results. Five seeds take a few minutes.
    """
    forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.accuracy import session

        request = session.read_request(**chosen)
        out = run_folder(out, resume, session.NAME)
    with output.resumable(out), output.one_line_errors(out):
        ending = session.run_study(
            request, out, output.command_line(), _print_progress, resume=resume
        )
    if ending.interrupted:
        return output.interrupted(out)
    with output.resumable(out):
        _print_study(out)
    return int(ending.failed > 0)


def _print_progress(now: StudyProgress) -> None:
    """Print one line per finished trial."""
    first = now.rows[0]
    timed = [(row.variant, row.accuracy) for row in now.rows if row.accuracy is not None]
    shares = [f"{variant} {digits(100 * share)} %" for variant, share in timed]
    result = ", ".join(shares) or f"{first.status}, {first.reason}"
    output.say(f"{now.done}/{now.total} {first.dataset}, seed {first.seed}: {result}", error=True)


def _print_study(out: Path) -> None:
    from convsweep.analysis.accuracy import read_study
    from convsweep.report.sections.accuracy import comparison_table, note_wide_intervals, sentences
    from convsweep.results.accuracy import ACCURACY_TABLE

    study = read_study(ACCURACY_TABLE.load(out))
    table = comparison_table(study)
    if table.rows:
        output.print_table(table)
    output.print_sentences([*sentences(study), *note_wide_intervals(study)])
    output.print_paths(out)
