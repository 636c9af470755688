"""The command `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsweep.cli import options, output
from convsweep.system import forkserver
from convsweep.system.signals import exit_on_interrupt

if TYPE_CHECKING:
    from convsweep.problems.workloads import Layer


@click.command()
@options.value("--model", "MODEL", "Your model, given as for advise; loading it RUNS ITS CODE.")
@options.several("--input", "inputs", "Input shape of the model, as for advise.", metavar="SHAPE")
@options.sweep_options
@options.value("--passes", "N", "Number of processes per case (default 3).", type=int)
@options.out("Folder for call_parts.csv and call_parts.png; files of these names are replaced.")
def explain(model: str | None, inputs: tuple[str, ...], out: Path | None, **chosen: Any) -> int:
    """Measure where the time of one call goes.

    Takes one problem: --problem, --axis with one value each, or --layer of a --model or --workload.
    Parts are kernels, reorders and copies, allocation, page faults, the fixed cost per call, and
    the steps of a strategy. Each is measured with instruments, and compared with calls without
    them; the rest is unattributed. Parts within the noise may be negative. Only forward passes of
    convolutions alone are explained, with hot caches: --direction, --block and --cache take no
    other value.
    """
    forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.cli import terminal
        from convsweep.report import call_parts
        from convsweep.results.store import require_writable
        from convsweep.sweep import explain as explaining
        from convsweep.sweep.request import Options

        layers = _layers(model, inputs, chosen)
        request = explaining.one_problem(Options(**chosen), layers)
        if out is not None:
            require_writable(out)
    with terminal.progress() as observe:
        found = explaining.explain(request, observe)
    rows = explaining.rows(found, request.allocator)
    label, passes = rows[0].problem, request.passes
    for setting, table in call_parts.tables(rows).items():
        output.say(f"One call of {label} on {setting}; processes: {passes}")
        output.print_table(table)
    if out is not None:
        with output.one_line_errors(out):
            call_parts.write(out, rows)
        output.say(f"Results: {out}")
    failed = output.print_failures((r.status, r.backend, r.problem, r.reason) for r in rows)
    return int(failed > 0)


def _layers(
    model: str | None, inputs: tuple[str, ...], chosen: dict[str, Any]
) -> list[Layer] | None:
    """Return the layers of a model; None: those of the other options."""
    others = any(chosen[name] for name in ("grid", "workloads", "problems", "axes", "labels"))
    if not model and not others:
        raise ValueError("name a problem: --problem, --axis, or --layer of a --model or --workload")
    if model and others:
        raise ValueError("--model and the options for other problems exclude each other")
    if bool(inputs) != bool(model):
        raise ValueError("--model and --input, the shape of its input, need each other")
    if model is None:
        return None
    from convsweep.models.advise.request import usual_dtype
    from convsweep.models.advise.trace import record
    from convsweep.problems.model_loader import load_model
    from convsweep.problems.workloads import Layer
    from convsweep.units import read_shape

    trace = record(load_model(model), [read_shape(text) for text in inputs])
    chosen["dtypes"] = chosen["dtypes"] or (usual_dtype(trace),)
    return [Layer(one.problem, model, one.module) for one in trace.convolutions]
