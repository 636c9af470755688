"""Other ways to run a whole model: eager PyTorch, its compiler, ONNX Runtime and OpenVINO."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convsweep.analysis.estimates import UNKNOWN, Interval, estimate, interval
from convsweep.backends.engines.onnxruntime import session_of
from convsweep.backends.engines.openvino import imported_openvino
from convsweep.backends.registry import list_backends, missing_package
from convsweep.models.optimize.candidates import to_channels_last
from convsweep.models.optimize.gate import ModelReference
from convsweep.models.optimize.layer_inventory import ModelInputs, copy_model
from convsweep.models.optimize.speedup import times_in_turns
from convsweep.problems.problem import ConvProblem
from convsweep.problems.user_code import UserCodeError, user_code
from convsweep.results.schema import BASELINE
from convsweep.system.devices import Device
from convsweep.system.private_folder import use_for_compilers

TOLERANCE = 1e-3  # Largest error of an engine's output, relative to the largest expected value
OPTIMIZED = "convsweep's copy"
_OPSET = 17
_ANY = ConvProblem(1, 1, (1,), 1)
Run = Callable[[], Any]


class EngineTime(NamedTuple):
    """Whole model on one engine."""

    engine: str
    seconds: Interval = UNKNOWN  # Of one call
    ratio: Interval = UNKNOWN  # Relative to the seconds of the fastest engine
    error: float = float("nan")  # max|y - reference| / max|reference|
    reason: str = ""  # Why there is no time
    core_share: float = 1.0
    """Share of the time in which the thread that called the engines had a core."""


def _eager(model: nn.Module, inputs: ModelInputs, threads: int) -> Run:
    return partial(inputs.pass_to, model)


def _channels_last(model: nn.Module, inputs: ModelInputs, threads: int) -> Run:
    own = copy_model(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return partial(inputs.mapped(to_channels_last).pass_to, own)


def _compiled(model: nn.Module, inputs: ModelInputs, threads: int) -> Run:
    use_for_compilers()
    options: Any = {"freezing": True, "compile_threads": 1}  # it starts no processes
    return partial(inputs.pass_to, torch.compile(model, options=options))


def _onnxruntime(model: nn.Module, inputs: ModelInputs, threads: int) -> Run:
    file, values = BytesIO(), _arrays(inputs)
    names = [f"x{i}" for i in range(len(values))]
    settings: Any = {"input_names": names, "opset_version": _OPSET, "dynamo": False}
    torch.onnx.export(model, inputs.arguments, file, **settings)  # type: ignore[arg-type]
    session = session_of(file.getvalue(), threads, spinning=False)  # others take turns
    feed = dict(zip(names, values, strict=True))
    return lambda: [torch.from_numpy(y) for y in session.run(None, feed)]


def _openvino(model: nn.Module, inputs: ModelInputs, threads: int) -> Run:
    openvino, values = imported_openvino(), _arrays(inputs)
    shapes = [list(value.shape) for value in values]
    converted = openvino.convert_model(model, example_input=inputs.arguments, input=shapes)
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.compile_model(converted, "CPU", properties).create_infer_request()

    def run() -> list[Tensor]:
        found = request.infer(values, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(y) for y in found.values()]

    return run


def _arrays(inputs: ModelInputs) -> list[Any]:
    """Return the inputs as NumPy arrays."""
    if inputs.keywords or not all(isinstance(x, Tensor) for x in inputs.arguments):
        raise ValueError("needs inputs that are positional tensors")
    return [x.numpy() for x in inputs.arguments]


class Engine(NamedTuple):
    """One way to run a whole model."""

    start: Callable[[nn.Module, ModelInputs, int], Run]
    """Returns a call of the model on the inputs, with a number of threads."""
    backend: str = BASELINE  # Backend that needs the same packages


ENGINES: Mapping[str, Engine] = {
    "PyTorch": Engine(_eager),
    "PyTorch, channels_last": Engine(_channels_last),
    "torch.compile": Engine(_compiled, "torch_compile"),
    "ONNX Runtime": Engine(_onnxruntime, "onnxruntime"),
    "OpenVINO": Engine(_openvino, "openvino"),
}


def compare(
    original: nn.Module,
    optimized: nn.Module | None,
    inputs: ModelInputs,
    expected: ModelReference,
    threads: int,
    device: Device,
    seconds: float,
) -> list[EngineTime]:
    """Time the model on all engines in turns; the fastest comes first, those without a time last.

    An engine whose output is off by more than `TOLERANCE` has no time, and a reason.
    """
    engines = {OPTIMIZED: Engine(_eager)} if optimized is not None else {}
    runs: dict[str, Run] = {}
    errors: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name, engine in {**engines, **ENGINES}.items():
        model = optimized if optimized is not None and name == OPTIMIZED else original
        own = list_backends()[engine.backend]
        reason = missing_package(own) or own.unsupported(_ANY)
        if not reason:
            try:
                runs[name], errors[name] = _started(engine, model, inputs, expected, threads)
            except UserCodeError as failure:
                reason = str(failure)
        if not reason and not errors[name] <= TOLERANCE:
            reason = f"its output is off by {errors[name]:.1e}, more than {TOLERANCE:g}"
            del runs[name]
        if reason:
            reasons[name] = reason
    left = [EngineTime(name, reason=reason) for name, reason in reasons.items()]
    if not runs:
        return left
    with user_code(shown=False):
        logs, share = times_in_turns([*runs.values()], device, seconds)
    means = [float(estimate(log).mean) for log in logs]
    fastest = logs[means.index(min(means))]
    timed = [
        EngineTime(
            name,
            interval(estimate(log)),
            interval(estimate(log - fastest)),
            errors[name],
            core_share=share,
        )
        for name, log in zip(runs, logs, strict=True)
    ]
    return [*sorted(timed, key=lambda one: one.seconds.value), *left]


def _started(
    engine: Engine, model: nn.Module, inputs: ModelInputs, expected: ModelReference, threads: int
) -> tuple[Run, float]:
    """Return a call of the model, and the error of its output."""
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        user_code(shown=False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        run = engine.start(model, inputs, threads)
        torch.manual_seed(0)
        return run, expected.error(run())
