"""The command that tries the user's own model on the fastest backends, and tells what it gains."""

from __future__ import annotations

from pathlib import Path

import click

from convsweep.cli.errors import requested
from convsweep.cli.options import path
from convsweep.system.signals import exit_on_interrupt


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
@click.option("--budget", metavar="TIME", help="Measure its layers for about this long: 60s.")
@click.option("--from", "source", metavar="RUN", type=path, help="Or take this run or best.csv.")
@click.option("--max-error", metavar="NUMBER", help="The largest relative error of a layer: 1e-5.")
@click.option("--threads", metavar="N", type=int, default=1, help="Threads of torch's pool: 1.")
@click.option(
    "--backend",
    "backends",
    metavar="NAME",
    multiple=True,
    help="Only this one, or those of this family; may be repeated.",
)
@click.option("--across-machines", is_flag=True, help="Take a table of another machine or version.")
@click.option("--out", metavar="DIR", type=path, help="A new folder for what --budget measures.")
def optimize(
    spec: str,
    inputs: tuple[str, ...],
    budget: str | None,
    source: Path | None,
    max_error: str | None,
    threads: int,
    backends: tuple[str, ...],
    across_machines: bool,
    out: Path | None,
) -> int:
    """Tell how much faster your own MODEL is on the fastest backends, each layer held to torch's.

    MODEL is given as for advise, and loading it RUNS ITS CODE. Its inputs are random normals. The
    same in Python, convsweep.optimize, gives the model that is told of here. Exit code 1 where
    the whole model became slower.
    """
    from convsweep.system import forkserver

    forkserver.start()
    with exit_on_interrupt():
        from rich.console import Console

        from convsweep.cli import terminal
        from convsweep.models.advise import request
        from convsweep.models.optimize import optimize as optimizing
        from convsweep.models.optimize.layer_inventory import normals
        from convsweep.problems.model_loader import load_model
        from convsweep.units import named, read_limit, seconds

    with exit_on_interrupt(), requested():
        if budget is not None and source is not None:
            raise ValueError("--budget and --from exclude each other; choose one")
        if out is not None and source is not None:
            raise ValueError("--out and --from exclude each other: --from measures no layer")
        budget = request.BUDGET if budget is None else budget
        named("--budget", seconds, budget)
        limit = None if max_error is None else named("--max-error", read_limit, max_error)
        model = load_model(spec)
        tensors = normals(model, [request.read_shape(text) for text in inputs])
    with requested():
        found = optimizing.optimize(
            model,
            source or budget,
            inputs=tensors,
            threads=threads,
            max_error=limit,
            backends=backends,
            across_machines=across_machines,
            out=out,
            watching=lambda: terminal.progress(Console(stderr=True)),
        )
    report = optimizing.report_of(found)
    print(report)
    return int(report.speedup is not None and report.speedup.verdict == "slower")
