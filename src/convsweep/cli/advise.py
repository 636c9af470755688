"""The command `advise`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from convsweep.cli import options, output
from convsweep.cli.sweep_command import run_folder, sweep_with_progress
from convsweep.system import forkserver
from convsweep.system.signals import exit_on_interrupt

if TYPE_CHECKING:
    from convsweep.analysis.model_advice import Advice


@click.command()
@click.argument("spec", metavar="MODEL")
@options.model_inputs
@options.budget
@options.single("--threads", "threads", "Number of threads (default 1).", metavar="N", type=int)
@options.single("--device", "devices", "Device (default cpu).")
@options.single("--dtype", "dtypes", "Data type (default: the model's own).")
@options.single("--memory-format", "memory_formats", "contiguous (default) or channels_last.")
@options.single(
    "--direction",
    "directions",
    "As for run: forward (default), training, or a gradient.",
    metavar="KIND",
)
@options.several(
    "--backend", "backends", "Measure only this backend, besides torch_conv and separable."
)
@options.out("New folder (default results/NAME-TIME).")
@options.resume
def advise(
    spec: str, inputs: tuple[str, ...], out: Path | None, resume: bool, **chosen: Any
) -> int:
    """Measure the convolutions of your MODEL, and possible savings.

    MODEL is package.module:factory or FILE.py:factory, where the factory returns a
    torch.nn.Module; or torchvision:NAME or timm:NAME if those are installed. Loading a model RUNS
    ITS CODE: load only models you trust.

    The convolutions that the model executes are recorded without computing them. Each distinct
    layer is measured with each basic backend, or those of --backend, and as a separable layer,
    and the whole model end to end, as far as the budget allows (default 60s). Writes the files of
    a run, and layers.csv.
    With --direction training each layer is measured with its gradients, and the whole model as a
    training step; single gradients are measured of layers only.
    """
    chosen["started_s"] = monotonic()
    forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        shapes = _check_options(inputs, out, resume, chosen)
        from convsweep.analysis.model_advice import require_same_model, write_model
        from convsweep.cli import terminal
        from convsweep.cli.plan import plan
        from convsweep.models.advise import request as advising
        from convsweep.models.advise.trace import record
        from convsweep.problems.case import FORWARD
        from convsweep.problems.model_loader import load_model, short_name
        from convsweep.sweep.effort import require_time
        from convsweep.sweep.environment import this_machine
        from convsweep.sweep.executor import LocalExecutor
        from convsweep.sweep.network_runs import Network
        from convsweep.sweep.request import Options
        from convsweep.sweep.resume import require_resumable

        trace = record(load_model(spec), shapes, "".join(chosen["directions"]) or FORWARD)
        name = short_name(spec)
        layers = advising.distinct_layers(trace, name)
        chosen["dtypes"] = chosen["dtypes"] or (advising.usual_dtype(trace),)
        request = advising.request_for(name, layers, Options(**chosen))
        out = run_folder(out, resume, name)
        if resume:
            require_same_model(out, name, [layer.problem.label for layer in layers])
            require_resumable(out, [this_machine(request)], output.command_line())
        else:
            require_time(request)
        planned = plan(request)
    output.say(planned)
    first = request.cases[0]
    how = (first.device, first.dtype, first.memory_format, first.threads, first.direction)
    network = Network(name, spec, tuple(shapes), *how)
    ending = sweep_with_progress(LocalExecutor(request), out, resume, networks=[network])
    with output.resumable(out), output.one_line_errors(out):
        model = advising.model_metadata(spec, shapes, trace, layers, first.dtype)
        advice = write_model(ending.folder, model)
    if advice is None:
        output.say(
            f"No layer was measured before the run ended; --resume continues. Results: {out}"
        )
        return output.interrupted(out) if ending.interrupted else 1
    with output.resumable(out):
        failed = _print_advice(advice, out)
        if advice.is_timed:
            ends = terminal.end_lines(ending)
            output.say(*ends, *([] if chosen["backends"] else advising.kernels_note(request)))
    return output.interrupted(out) if ending.interrupted else failed


def _check_options(
    inputs: tuple[str, ...], out: Path | None, resume: bool, chosen: Mapping[str, Any]
) -> list[tuple[int, ...]]:
    """Return the shapes; raise `ValueError` for a wrong option before anything slow is imported."""
    from convsweep.results.schema import BASELINE
    from convsweep.sweep.effort import require_start
    from convsweep.sweep.request import Options, read_request
    from convsweep.units import read_shape

    shapes = [read_shape(text) for text in inputs]
    own = {"backends": (BASELINE, *chosen["backends"]), "passes": 1}
    # On the default grid, since the layers are not known yet.
    request = read_request(Options(**{**chosen, **own}))
    if not resume:
        require_start(request)
    run_folder(out, resume, request.name)
    return shapes


def _print_advice(advice: Advice, out: Path) -> int:
    """Print the advice; return exit code 1 if a case failed or nothing was timed."""
    from convsweep.report import model_text
    from convsweep.report.next_commands import note_wide_intervals
    from convsweep.results.networks import NETWORKS_TABLE
    from convsweep.results.store import RunFolder

    table = model_text.layer_table(advice)
    [direction] = advice.run.cases["direction"].unique()
    output.say(
        f"Time of all calls of each distinct layer, {direction}; speedup of its replacements, "
        "? undecided"
    )
    output.print_table(table, width=100)
    sentences = model_text.sentences(advice, NETWORKS_TABLE.load_completed(out).rows)
    notes = note_wide_intervals(RunFolder(out), table, sentences)
    output.print_sentences([*sentences, *notes])
    columns = [advice.run.cases[name] for name in ("status", "backend", "problem", "reason")]
    failed = output.print_failures(zip(*columns, strict=True))
    output.print_paths(out)
    return int(failed > 0 or not advice.is_timed)
