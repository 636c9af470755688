"""The command that advises on the user's own model."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convsweep.cli.common import FAILED, folder, interrupted, sweep_with_progress
from convsweep.cli.errors import requested, written
from convsweep.cli.options import path
from convsweep.system.signals import exit_on_interrupt

if TYPE_CHECKING:
    from convsweep.analysis.model_advice import Advice

_MOST_ROWS = 60


@click.command()
@click.argument("spec", metavar="MODEL")
@click.option(
    "--input",
    "inputs",
    metavar="SHAPE",
    multiple=True,
    required=True,
    help="Such as 1,3,224,224, the batch first; repeated for a model of several inputs.",
)
@click.option("--budget", metavar="TIME", help="Spend about this long on measuring: 60s.")
@click.option("--threads", metavar="N", type=int, help="Threads of torch's pool; 1 by default.")
@click.option("--device", metavar="NAME", help="Where to measure: cpu.")
@click.option("--dtype", metavar="NAME", help="By default the model's own.")
@click.option("--memory-format", metavar="NAME", help="contiguous (the default) or channels_last.")
@click.option(
    "--backend",
    "backends",
    metavar="NAME",
    multiple=True,
    help="Only this one beside torch_conv and separable; may be repeated.",
)
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/NAME-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
def advise(
    spec: str,
    inputs: tuple[str, ...],
    budget: str | None,
    threads: int | None,
    device: str | None,
    dtype: str | None,
    memory_format: str | None,
    backends: tuple[str, ...],
    out: Path | None,
    resume: bool,
) -> int:
    """Say what the convolutions of your own MODEL cost here, and what would cost less.

    MODEL is package.module:factory or FILE.py:factory, where a factory returns a torch.nn.Module;
    or torchvision:NAME or timm:NAME, where those are installed. Loading a model RUNS ITS CODE:
    name only what you trust.

    The convolutions that it executes are recorded without doing its arithmetic. Then each distinct
    layer is measured on every strategy, and replaced by a separable one, and the whole model is
    run beside them, as far as the budget reaches. Files are those of a run, and layers.csv.
    """
    from convsweep.system import forkserver

    forkserver.start()
    with exit_on_interrupt():
        from convsweep.analysis.model_advice import keep, read_advice, require_same_model
        from convsweep.cli import terminal
        from convsweep.models.advise import request as asking
        from convsweep.models.advise.trace import record
        from convsweep.problems.model_loader import load_model, short_name
        from convsweep.sweep.effort import measuring, pass_s
        from convsweep.sweep.network_runs import Network
        from convsweep.sweep.request import Options

    with exit_on_interrupt(), requested():
        shapes = [asking.read_shape(text) for text in inputs]
        recording = record(load_model(spec), shapes)
        name = short_name(spec)
        layers = asking.distinct_layers(recording, name)
        words = Options(
            backends=backends,
            devices=(device,) if device is not None else (),
            dtypes=(asking.usual_dtype(recording) if dtype is None else dtype,),
            memory_formats=(memory_format,) if memory_format is not None else (),
            threads=(threads,) if threads is not None else (),
            budget=budget,
        )
        request = asking.request_for(name, layers, words)
        out = folder(out, resume, name)
        if resume:
            require_same_model(out, name, [layer.problem.label for layer in layers])
        forecast = pass_s(request, measuring(request).effort)
    print(terminal.plan(request, forecast), flush=True)
    first = request.cases[0]
    whole = Network(
        name, spec, tuple(shapes), first.device, first.dtype, first.memory_format, first.threads
    )
    ending = sweep_with_progress(request, out, resume, [whole])
    with written(out):
        told = asking.told(spec, shapes, recording, layers, first.dtype)
        keep(out, told)
        found = read_advice(out)
    if found is None:
        print(f"No layer was measured before the run ended; --resume goes on. Results: {out}")
        return interrupted() if ending.interrupted else 1
    failed = _tell(found, out)
    if ending.open_comparisons and found.is_timed:
        print(terminal.unsettled(ending.open_comparisons))
    return interrupted() if ending.interrupted else failed


def _tell(found: Advice, out: Path) -> int:
    """Print the advice; the exit code says whether any case failed, or nothing was timed."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from convsweep.report.sections import advice as words
    from convsweep.report.sections import network_breakdown
    from convsweep.report.sections.advice_table import layer_table
    from convsweep.results.network_store import load_networks

    table = layer_table(found)
    console = Console(width=None if sys.stdout.isatty() else 140)
    shown = Table(title="Every distinct layer, ? is undecided", title_justify="left")
    for head in table.heads:
        shown.add_column(head, justify="right" if head in table.right else "left")
    for row in table.rows[:_MOST_ROWS]:
        shown.add_row(*map(Text, row))
    console.print(shown)
    if len(table.rows) > _MOST_ROWS:
        print(f"and {len(table.rows) - _MOST_ROWS} more in layers.csv")
    whole = network_breakdown.section(found.run, load_networks(out))
    real = whole.sentences if whole else ()
    for sentence in [*words.sentences(found), *real, *words.notes(found)]:
        console.print(sentence, markup=False, highlight=False)
    failed = found.run.cases[found.run.cases["status"].isin(FAILED)]
    for _, case in failed.iterrows():
        print(f"{case['status']}: {case['backend']} on {case['problem']}: {case['reason']}")
    print(f"Results: {out}\nReport:  convsweep report {shlex.quote(str(out))}")
    return int(len(failed) > 0 or not found.is_timed)
