"""Copy of a model whose convolutions run on the fastest backends, checked against the original."""

import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing.util import get_temp_dir
from numbers import Integral, Real
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn

from convsweep.models.advise.model_warnings import model_warnings
from convsweep.models.advise.trace import tensors_of
from convsweep.models.optimize import engines, gate, layers, selection
from convsweep.models.optimize.candidates import (
    CHANNELS_LAST,
    Candidate,
    candidates,
    undo_conversion,
)
from convsweep.models.optimize.layer_inventory import ModelInputs, call, copy_model
from convsweep.models.optimize.layer_sweep import sweep_layers
from convsweep.models.optimize.report import OptimizeReport
from convsweep.models.optimize.speedup import (
    LAYERS_SHARE,
    ModelSpeedup,
    layer_times,
    layers_fit,
    least_s,
    measure_speedups,
    reserve_s,
)
from convsweep.results.store import require_new
from convsweep.sweep.executor import OnProgress
from convsweep.system.devices import Device, find_device
from convsweep.units import read_limit, seconds

MEASURE_S = 10.0  # Default seconds for timing the whole model
_TIMING_SHARE = 0.2  # of a budget: the most that timing the whole model takes
_MOST_TIMING_SHARE = 0.3  # the same if its fewest passes take longer
_READINGS = 3  # of the time of a call; the least of them is the least disturbed
_CHECKS_OF_COPY = 2  # times the checks of the original: several backends per layer
_SHORTEST_SWEEP_S = 10.0  # with compiling
Watching = Callable[[], AbstractContextManager[OnProgress]]
"""Context manager that yields a function to call with the progress."""


def optimize(
    model: nn.Module,
    source: str | os.PathLike[str],
    *,
    inputs: Any,
    threads: int | None = None,
    max_error: float | None = None,
    backends: str | Collection[str] = (),
    across_machines: bool = False,
    measure_s: float = MEASURE_S,
    compare: bool = False,
    out: str | os.PathLike[str] | None = None,
    started_s: float | None = None,
    watching: Watching = lambda: nullcontext(lambda progress: None),
) -> nn.Module:
    """Return a copy of `model`, for inference, whose convolutions run on the fastest backends.

    An `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d` is replaced if another backend is significantly
    faster than torch's own and correct: on the layer's real input against float64 within the
    backend's error bound, and in the whole model against the original in float64 (in its own dtype
    if it cannot run in float64). A batch norm that alone uses the output of a convolution, in
    evaluation mode, is folded into its weights, and a ReLU or ReLU6 that follows is computed with
    it. A depthwise convolution and a 1x1 one that alone follows are computed at once if that is
    faster inside the model.
    Everything else stays torch's, and so does every call in training mode, with gradients
    recorded, under `torch.func`, tracing or compiling, or whose input or number of threads was not
    measured: call the copy under `torch.inference_mode()`.

    A second copy converts images to channels_last at entry and outputs back at exit. Both copies
    are timed as a whole, and the faster one is returned. If it is not significantly faster than
    the original, an unoptimized copy is returned.

    `model` is unchanged. The copy is in evaluation mode and not compiled; its parameters and
    buffers keep their names, those of batch norms too. Changed weights are used from the next call
    on, if torch counts the write; after a write through `.data` or NumPy call `.train().eval()`,
    since only a sample of the weights is compared, on the CPU, and nothing of a batch norm. Weights
    made in inference mode stay torch's; `torch.jit.script` is refused. If the output of a
    convolution gets another use than what was found to follow it, that convolution is
    torch's from then on; the call that does so raises `RuntimeError` in inference mode.
    A process forked from one that has prepared a backend uses torch's own convolution; call
    `torch.set_num_threads(1)` there first, as for the original.

    The attribute `convsweep_report` of the copy is an `OptimizeReport`: what became of each layer,
    the error of the output, and the measured speedup; `print` it.

    Args:
        model: any module that can be copied; of an optimized one, the original is taken.
        source: a run folder, a best.csv, or a time such as "60s" to measure the layers for. The
            time includes the checks and the timing of the whole model.
        inputs: of the model: a tensor, a tuple of arguments, or a dictionary.
        threads: of torch's pool; by default the current number.
        max_error: largest relative error of a layer; by default each backend's own bound.
        backends: one or several names or families; by default all but those that bring their own
            threads or compile each problem.
        across_machines: accept a table from another machine or version.
        measure_s: approximate seconds for timing the whole model; 0: do not time it, and return
            the optimized copy in any case.
        compare: also time the whole model on torch.compile, ONNX Runtime and OpenVINO, for
            `measure_s` seconds more than a time in `source`, plus the time they take to compile.
        out: new folder for what a time in `source` measures.
        started_s: reading of `time.monotonic` from which a time in `source` counts; by default now.
        watching: entered while the layers are measured, to observe the progress.

    Raises:
        ValueError: an argument is wrong, the table is from another machine, or the model cannot
            take the inputs or executes no convolution.
    """
    started_s = monotonic() if started_s is None else started_s
    budget = selection.budget_of(source)
    limit = None if max_error is None else read_limit(max_error)
    backends = _names(backends)
    _require_valid(budget, measure_s, compare, out)
    given, kind = ModelInputs.of(inputs), type(getattr(model, "_orig_mod", model)).__name__
    with _threads(threads) as count:
        plain = _unoptimized(model, given)
        call(plain, given)  # the first call takes longer than those of the checks
        checks_started_s = monotonic()
        original = copy_model(plain)
        copies = candidates(plain, given, every_format=measure_s > 0)
        expected = gate.ModelReference(original, given, copies[0].found.convolutions)
        device = find_device(next((one.key[2] for one in copies[0].found.calls), "cpu"))
        checks_s = _CHECKS_OF_COPY * (monotonic() - checks_started_s)
        readings = _READINGS if measure_s else 0
        clocked = (device.clock(partial(call, original, given)) for _ in range(readings))
        call_s = min(clocked, default=0.0)
        timing_s, ends_s, left_out = measure_s, math.inf, ""
        if budget is None:
            table = selection.read_table(Path(source), limit, backends, across_machines)
        else:
            timing_s = min(measure_s, _TIMING_SHARE * seconds(budget))
            ends_s = started_s + seconds(budget)
            longest_s = _MOST_TIMING_SHARE * seconds(budget)
            reserved_s = reserve_s(call_s, len(copies), timing_s, longest_s)
            sweep_ends_s = ends_s - reserved_s - len(copies) * checks_s
            with watching() as observe:
                table = _measure(
                    copies, kind, budget, backends, limit, count, out, observe, sweep_ends_s
                )
            left_out = table.absent
        for one in copies:
            one.optimize(table, expected, limit, count, LAYERS_SHARE * timing_s)
        best, speedup = _fastest(original, copies, given, device, call_s, timing_s, ends_s)
        times = []
        if compare:
            copy = best.model if best.replaced else None
            times = engines.compare(original, copy, given, expected, count, device, measure_s)
    is_faster = speedup is None or speedup.verdict == "faster"
    optimized = best.model if best.replaced and is_faster else original
    for dispatch in layers.dispatches(optimized).values():
        dispatch.calls.clear()
    optimized.__dict__["convsweep_report"] = OptimizeReport(
        kind,
        count,
        str(source if out is None else out),
        best.replaced,
        best.skipped,
        best.error,
        speedup,
        model_warnings(model),
        best.converts,
        times,
        left_out,
    )
    return optimized


def _fastest(
    original: nn.Module,
    copies: Sequence[Candidate],
    inputs: ModelInputs,
    device: Device,
    call_s: float,
    timing_s: float,
    ends_s: float,
) -> tuple[Candidate, ModelSpeedup | None]:
    """Return the copy with the largest speedup; not measured if `monotonic` reads `ends_s` before.

    Copies without a replaced layer are not timed.
    """
    replaced = [one for one in copies if one.replaced]
    left_s = ends_s - monotonic()
    if not (replaced and timing_s and least_s(call_s, 1 + len(replaced)) <= left_s):
        return (replaced or copies)[0], None
    models = [one.model for one in replaced]
    found = measure_speedups(original, models, inputs, device, min(timing_s, left_s))
    speedup = max(found, key=lambda one: one.ratio.value)
    return replaced[found.index(speedup)], speedup


def _names(backends: object) -> tuple[str, ...]:
    """Return names and families; raise `ValueError` if one is unknown."""
    names = (backends,) if isinstance(backends, str) else backends
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"backends={backends!r} must be a name or a collection of names")
    selection.usable(names)
    return tuple(names)


def _require_valid(budget: str | None, measure_s: object, compare: object, out: object) -> None:
    """Raise `ValueError` if a time, a folder or `compare` is wrong."""
    number = isinstance(measure_s, Real) and not isinstance(measure_s, bool)
    if not (number and 0 <= measure_s < math.inf):  # type: ignore[operator]
        raise ValueError(f"measure_s={measure_s!r} must be a number of seconds, at least 0")
    if not isinstance(compare, bool):
        raise ValueError(f"compare={compare!r} must be True or False")
    if out is None:
        return
    if not isinstance(out, str | os.PathLike):
        raise ValueError(f"out={out!r} is not a path")
    if budget is None:
        raise ValueError(f"out={str(out)!r} needs a time as the source; the source is a table")
    require_new(Path(out))


def _unoptimized(model: nn.Module, inputs: ModelInputs) -> nn.Module:
    """Return a copy in evaluation mode with torch's own convolutions, lazy ones initialized."""
    own = copy_model(model)
    if any(map(nn.parameter.is_lazy, tensors_of(own))):
        call(own, inputs)
    layers.restore_all(own)
    for module in own.modules():
        module.__dict__.pop("convsweep_report", None)
        undo_conversion(module)
    return own


@contextmanager
def _threads(asked: int | None) -> Iterator[int]:
    """Within, torch uses the given number of threads; by default the current one."""
    before = torch.get_num_threads()
    count = before if asked is None else asked
    whole = isinstance(count, Integral) and not isinstance(count, bool)
    if not (whole and 1 <= count <= (os.cpu_count() or 1)):
        raise ValueError(f"threads={asked!r} is not a whole number from 1 to {os.cpu_count()}")
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


def _measure(
    copies: Sequence[Candidate],
    kind: str,
    budget: str,
    backends: Collection[str],
    limit: float | None,
    threads: int,
    out: str | os.PathLike[str] | None,
    observe: OnProgress,
    ends_s: float,
) -> selection.BackendTable:
    """Return the table of a sweep over the model's layers, which ends when `monotonic` does.

    If the time is too short for any case, the table is empty.
    """
    calls, inputs = copies[0].found.calls, copies[0].inputs
    if not calls:
        raise ValueError(f"{kind} has no convolution that is a module of its own")
    if (missing_s := monotonic() - ends_s) >= 0:
        needed_s = math.ceil(seconds(budget) + missing_s + _SHORTEST_SWEEP_S)
        raise ValueError(
            f"the start and the checks leave no time of {budget} to measure layers; "
            f"at least {needed_s} s are needed"
        )
    formats = [CHANNELS_LAST for one in copies if one.converts]
    with tempfile.TemporaryDirectory(dir=get_temp_dir()) as folder:
        run_dir = Path(folder) / "run" if out is None else Path(out)
        own = selection.usable(backends, compiling=False)
        try:
            taken_s = None
            if layers_fit(copies[0].model, inputs, LAYERS_SHARE * (ends_s - monotonic())):
                names = {one.name for one in calls}
                [taken_s] = layer_times([copies[0].model], [names], inputs, 0.0)
            sweep_layers(calls, kind, own, ends_s, threads, run_dir, observe, formats, taken_s)
            table = selection.read_table(run_dir, limit, backends, across_machines=False)
            return table._replace(absent=f"not measured within {budget} on")
        except ValueError as error:
            reason = str(error).replace(repr(str(run_dir)), "the measured run")
            absent = f"has no usable time after {budget} ({reason}) on"
            return selection.BackendTable([], [], [], absent, backends)
