"""The command `optimize`."""

import os
from pathlib import Path
from time import monotonic
from typing import Any

import click

from convsweep.cli import options, output
from convsweep.system import forkserver
from convsweep.system.signals import exit_on_interrupt


@click.command()
@click.argument("spec", metavar="MODEL")
@options.model_inputs
@options.budget
@click.option(
    "--from", "source", metavar="RUN", type=options.path, help="Use this run or best.csv."
)
@options.max_error
@click.option("--threads", metavar="N", type=int, default=1, help="Number of threads (default 1).")
@options.several("--backend", "backends", "Use only this backend, or backends of this family.")
@options.across_machines
@click.option(
    "--compare",
    is_flag=True,
    help="Also time torch.compile, ONNX Runtime and OpenVINO; takes minutes beyond --budget.",
)
@options.out("New folder for the measurements of --budget.")
def optimize(
    spec: str,
    inputs: tuple[str, ...],
    budget: str | None,
    source: Path | None,
    max_error: str | None,
    out: Path | None,
    **chosen: Any,
) -> int:
    """Run your MODEL on the fastest backends; measure the speedup.

    MODEL is given as for advise; loading it RUNS ITS CODE. Its inputs are random normals. Batch
    norms are folded, depthwise and 1x1 layers fused, layers run on the fastest backends, in the
    faster memory format; each replaced layer is checked against float64. The default --budget is
    60s. The Python function convsweep.optimize returns the optimized model, or the original if the
    whole is not faster. Exit code 1 if it is slower.
    """
    started_s = monotonic()
    forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.backends.registry import list_backends
        from convsweep.results.store import require_new
        from convsweep.sweep.choices import check_threads, choose_backends
        from convsweep.units import named, read_limit, read_shape, seconds

        if budget is not None and source is not None:
            raise ValueError("--budget and --from exclude each other; choose one")
        if out is not None and source is not None:
            raise ValueError("--out and --from exclude each other: --from measures no layer")
        if out is not None:
            require_new(out)
        check_threads([chosen["threads"]], os.cpu_count() or 1)
        choose_backends(chosen["backends"], list_backends())
        named("--budget", seconds, budget)
        limit = named("--max-error", read_limit, max_error)
        shapes = [read_shape(text) for text in inputs]

        from convsweep.cli import terminal
        from convsweep.models.advise.request import BUDGET
        from convsweep.models.optimize import optimize as optimizing
        from convsweep.models.optimize.layer_inventory import normal_inputs
        from convsweep.problems.model_loader import load_model

        model = load_model(spec)
        tensors = normal_inputs(model, shapes)
    with output.one_line_errors():
        optimized = optimizing.optimize(
            model,
            source or budget or BUDGET,
            inputs=tensors,
            max_error=limit,
            out=out,
            started_s=started_s,
            watching=terminal.progress,
            **chosen,
        )
    report = optimized.__dict__["convsweep_report"]
    output.print_text(str(report))
    return int(report.speedup is not None and report.speedup.verdict == "slower")
