"""Instruments that find the parts of a call: steps, a library's own figures, or a trace."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, partial
from time import perf_counter

from torch import Tensor

from convsweep.backends.base import Backend, Conv
from convsweep.backends.steps import REST, Stopwatch
from convsweep.measure.inputs import Inputs
from convsweep.measure.messages import Seconds
from convsweep.measure.trace import COPIES, TracedCall, divide, record
from convsweep.problems.onednn_log import Primitive
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.results.call_parts import ALLOCATION, KERNEL, MOVES, WEIGHTS
from convsweep.system.devices import Device

Instrument = Callable[[int], Seconds]
"""Makes some calls and returns the seconds per call of their parts."""

_OF_STEP = {"kernel": KERNEL, "layout": MOVES, "allocate": ALLOCATION}


def find_steps(
    backend: Backend, problem: ConvProblem, inputs: Inputs, device: Device
) -> Instrument | None:
    """Return an instrument for the steps of a strategy, or None if it has none."""
    if backend.compiles_per_problem:
        return None

    def clock() -> float:
        device.synchronize()
        return perf_counter()

    stopwatch = Stopwatch(clock)
    conv = stopwatch.prepare(backend, problem, inputs.weights)
    has_steps = {*stopwatch.seconds(conv, inputs.x)} != {REST}
    return partial(_steps, stopwatch, conv, inputs.x) if has_steps else None


def find_kernels(problem: ConvProblem, conv: Conv, x: Tensor, device: Device) -> Instrument:
    """Return an instrument for kernels, reorders and copies."""
    if hasattr(conv, "measured"):
        reported = cache(partial(_reported, conv, x))  # it may compile again
        return lambda times: reported()
    return partial(_traced, problem, partial(conv, x), device)


def _steps(stopwatch: Stopwatch, conv: Conv, x: Tensor, times: int) -> Seconds:
    total: defaultdict[str, float] = defaultdict(float)
    for _ in range(times):
        for name, seconds in stopwatch.seconds(conv, x).items():
            total[_OF_STEP.get(name, name.replace("_", " "))] += seconds / times
    del total[REST]
    return dict(total)


def _reported(conv: Conv, x: Tensor) -> Seconds:
    found = conv.measured(x)  # type: ignore[attr-defined]
    known = {KERNEL: found.kernel_s, MOVES: found.reorder_s}
    return {name: seconds for name, seconds in known.items() if seconds is not None}


def _traced(
    problem: ConvProblem, call: Callable[[], object], device: Device, times: int
) -> Seconds:
    calls = record(call, times, device)
    total: defaultdict[str, float] = defaultdict(float)
    for one in calls:
        for name, seconds in parts_of(problem, one, on_cpu=device.name == "cpu"):
            total[name] += seconds / len(calls)
    return dict(total)


def parts_of(
    problem: ConvProblem, call: TracedCall, *, on_cpu: bool
) -> Iterator[tuple[str, float]]:
    """Yield the parts of one traced call, each with seconds; nothing for what is unknown."""
    kernels, moves = divide(call, on_cpu=on_cpu) or ((), ())
    yield from ((KERNEL, one.seconds) for one in kernels)
    if on_cpu:
        yield ALLOCATION, call.allocation_s
        for one in call.operators:
            if one.name in COPIES or one in moves:  # the latter: of TorchInductor
                yield MOVES, one.seconds
        for primitive in call.primitives:
            if primitive.kind == "reorder":
                yield MOVES if _is_image(problem, primitive) else WEIGHTS, primitive.seconds
    else:
        yield from ((MOVES, one.seconds) for one in moves)


def _is_image(problem: ConvProblem, reorder: Primitive) -> bool:
    """Return whether a reorder converts input or output, not weights.

    Of equal shapes, weights are those that are blocked along their first axis.
    """
    images = {format_size(problem.input_shape), format_size(problem.output_shape)}
    return reorder.shape in images and "A" not in reorder.memory
