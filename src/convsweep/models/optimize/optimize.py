"""A copy of a model whose convolutions run on what is the fastest here, held to the original."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convsweep.models.optimize.gate import WholeTruth
from convsweep.models.optimize.layer_inventory import Example, Inventory, Skipped, copied, inventory
from convsweep.models.optimize.layer_sweep import measured
from convsweep.models.optimize.layers import replaced, restore
from convsweep.models.optimize.report import Replaced, Report
from convsweep.models.optimize.selection import Pick, Table, budget_of, pick, read_table, usable
from convsweep.models.optimize.speedup import measure
from convsweep.models.optimize.validation import ValidatedModel, admit, install, validate_model
from convsweep.results.store import require_new
from convsweep.sweep.session import Observe
from convsweep.system.devices import find_device
from convsweep.units import read_limit

MEASURE_S = 10.0
"""Spent on timing the whole model, where no other time is asked for."""
Watching = Callable[[], AbstractContextManager[Observe]]
"""Within what it gives, the function that it gives is told how far the measuring is."""


@contextmanager
def _unwatched() -> Iterator[Observe]:
    yield lambda progress: None


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
    out: str | os.PathLike[str] | None = None,
    watching: Watching = _unwatched,
) -> nn.Module:
    """A copy of `model`, for inference, whose convolutions run on the fastest backends.

    `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d` are replaced where another backend is surely faster
    than torch's own, and right: each on its own real input against float64, within the backend's
    error bound, and all together against the original in float64, or in its own dtype where it
    can't run in float64. All else stays torch's; so does
    each call in training mode, or that records gradients, or whose input or number of threads is
    none that was measured: call it under `torch.inference_mode()`. The copy is in evaluation
    mode, its parameters keep their names, batch norms are not folded; `model` stays as it is; of
    one that was optimized before, the original is taken.

    Weights that change are computed with from the next call on: where torch counts the write, and
    on the CPU also where it is through `.data` or NumPy and changes the bias, a weight of up to
    4096 elements, or one of about 256 that are compared of a larger one. After any other write
    through those, such as to a single weight or on another device, call `.train().eval()` on the
    copy. Weights made in inference mode stay torch's, as nobody counts their writes.

    Forward-mode derivatives, `torch.func`, tracing and compiling get torch's own convolution;
    `torch.jit.script` is refused. So that no pool of threads is used where it died, torch's own
    also runs in a process forked from one that has prepared a backend; if that one ran on several
    threads it hangs there, as the original does, unless `torch.set_num_threads(1)` comes first.

    The attribute `convsweep_report` of the copy, a `Report`, tells what became of each layer, how
    far the output is off, and the measured speedup of the whole; `print` it.

    Args:
        model: any module that can be copied.
        source: a run's folder, a best.csv, or a time such as "60s" to measure the layers for.
        inputs: what the model is called with: a tensor, a tuple of arguments, or a dictionary.
        threads: of torch's pool, for which the copy is made; by default as many as now.
        max_error: the largest relative error of a layer; by default each backend's own bound.
        backends: a name or family, or several; by default all but those that bring threads of
            their own or compile each problem.
        across_machines: take a table of another machine or version all the same.
        measure_s: about how long the whole model is timed; 0: it is not.
        out: a new folder to keep what a time in `source` has measured.
        watching: entered while that is measured; gives who is told how far it is.

    Raises:
        ValueError: in one line, where an argument is wrong, the table is of another machine, or
            the model can't take the inputs or convolves nothing.
    """
    budget, limit = budget_of(source), None if max_error is None else read_limit(max_error)
    backends = _names(backends)
    _require_valid(budget, measure_s, out)
    example, kind = Example.of(inputs), type(model).__name__
    with _threads(threads) as count:
        own, original = _unoptimized(model), _unoptimized(model)
        found = inventory(own, example)
        truth = WholeTruth(original, example, found.convolutions)
        if budget is not None:
            with watching() as observe:
                table = _measured(found, kind, budget, backends, limit, count, out, observe)
        else:
            table = read_table(Path(source), limit, backends, across_machines)
        picks, left = _picks(found, table, count)
        admitted, failed = admit(own, example, picks, found.executed, limit)
        install(own, admitted, count)
        admitted, taken_out, whole = validate_model(own, truth, admitted)
        speedup = None
        if admitted and measure_s:
            clock = find_device(admitted[0].layer.key[2]).clock
            speedup = measure(original, own, example, clock, measure_s)
    for dispatch in replaced(own).values():
        dispatch.calls.clear()
    done, every = [*map(_replaced, admitted)], [*found.left, *left, *failed, *taken_out]
    report = Report(kind, count, str(source), done, every, whole, speedup)
    own.__dict__["convsweep_report"] = report
    return own


def report_of(optimized: nn.Module) -> Report:
    """What became of a model that `optimize` has copied."""
    found = optimized.__dict__["convsweep_report"]
    assert isinstance(found, Report), "optimize puts it there"
    return found


def _names(backends: object) -> tuple[str, ...]:
    """Names and families; raises `ValueError` where one is unknown, or no text."""
    words = (backends,) if isinstance(backends, str) else backends
    if not isinstance(words, Collection) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"backends={backends!r} is neither a name nor several")
    usable(words)
    return tuple(words)


def _require_valid(budget: str | None, measure_s: object, out: object) -> None:
    """Raise `ValueError` where a time or a folder can't be one."""
    number = isinstance(measure_s, Real) and not isinstance(measure_s, bool)
    if not (number and 0 <= measure_s < math.inf):  # type: ignore[operator]
        raise ValueError(f"measure_s={measure_s!r} is not a number of seconds from 0 on")
    if out is None:
        return
    if not isinstance(out, str | os.PathLike):
        raise ValueError(f"out={out!r} is no path")
    if budget is None:
        raise ValueError(f"out={str(out)!r} is for what a time measures; the source is a table")
    require_new(Path(out))


def _unoptimized(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose convolutions are torch's own."""
    own = copied(model)
    for name in replaced(own):
        restore(own.get_submodule(name))
    for module in own.modules():
        module.__dict__.pop("convsweep_report", None)
    return own


@contextmanager
def _threads(asked: int | None) -> Iterator[int]:
    """Within, torch uses so many threads; by default as many as it does."""
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


def _measured(
    found: Inventory,
    kind: str,
    budget: str,
    backends: Collection[str],
    limit: float | None,
    threads: int,
    out: str | os.PathLike[str] | None,
    observe: Observe,
) -> Table:
    """The table of a sweep over the model's layers."""
    if not found.executed:
        raise ValueError(f"{kind} has no convolution that is a module of its own")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run" if out is None else Path(out)
        names = usable(backends, compiling=False)
        measured(found.executed, kind, names, budget, threads, run_dir, observe)
        try:
            return read_table(run_dir, limit, backends, across_machines=False)
        except ValueError as error:
            why = str(error).replace(repr(str(run_dir)), "what was measured")
            raise ValueError(f"{why}; a longer time than {budget} may help") from None


def _picks(found: Inventory, table: Table, threads: int) -> tuple[dict[Any, Pick], list[Skipped]]:
    """What the table says of each layer, and of which it says that it stays torch's."""
    said = {layer: pick(table, layer, threads) for layer in found.executed}
    left = [
        Skipped(x.name, found.executed[x], why) for x, why in said.items() if isinstance(why, str)
    ]
    return {layer: one for layer, one in said.items() if not isinstance(one, str)}, left


def _replaced(one: ValidatedModel) -> Replaced:
    saving_s = one.calls * one.pick.median_s * (one.pick.speedup.value - 1)
    return Replaced(
        one.layer.name,
        one.layer.problem,
        one.calls,
        one.pick.backend,
        one.pick.speedup,
        saving_s,
        one.error,
    )
