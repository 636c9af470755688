"""Time of one network: its whole forward pass or training step, and its calls into torch."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from convsweep.measure.inputs import torch_dtype
from convsweep.measure.messages import NetworkTimes, TimedModule, TimeNetwork
from convsweep.measure.sampling import faster_half
from convsweep.problems.case import TRAINING
from convsweep.problems.conv_call import convolution_problem, with_zeros
from convsweep.problems.model_loader import load_model
from convsweep.problems.networks import BUILDERS, CLASSES, build
from convsweep.problems.problem import ConvProblem
from convsweep.problems.user_code import eager, uncompiled, user_code
from convsweep.results.networks import BACKWARD, CONVOLUTION, OTHER
from convsweep.system.devices import Device, find_device

_SEED = 1
_LEARNING_RATE = 1e-4  # hundreds of steps on one batch must not change the numbers' size
_MIN_ROUNDS, _MAX_ROUNDS = 2, 200
_TICK_S = 1e-9  # resolution of the host's clock: the least time of a call
_T = TypeVar("_T")

_OTHER_CALLS = "the network's calls differ between forward passes"

# Kinds of calls, by parts of their functions' names; the first match counts.
_KINDS = {
    CONVOLUTION: ("conv",),
    "batch norm": ("batch_norm",),
    "activation": ("relu", "hardtanh", "hardswish", "sigmoid", "silu", "gelu", "softmax"),
    "pooling": ("max_pool", "avg_pool"),
    "linear": ("linear", "matmul"),
    "loss": ("cross_entropy",),
}


def time_network(request: TimeNetwork) -> NetworkTimes:
    """Make the network, warm it up, and time it whole and in parts, in turns.

    Raises:
        ValueError: the network cannot be made, its calls differ between forward passes, or its
            loss is not finite after training steps.
    """
    device = find_device(request.device)
    clock, timer = device.clock, _CallTimer(device)
    with user_code(shown=False):  # it may print at every call
        step = _prepared(request)
        with eager(), torch.set_grad_enabled(step.update is not None):
            started = perf_counter()
            _rounds(request.round_s / 3, lambda: clock(step.run))
            warmed_up = perf_counter()
            both = _rounds(2 * request.round_s, lambda: (clock(step.run), timer.time_parts(step)))
            ended = perf_counter()
            if step.update is not None and not step.forward().isfinite():
                raise ValueError("the loss is not finite after some training steps")
    # A pass counts with all its parts or with none, so that the parts add up to the whole.
    whole_s, instrumented_s = (np.array(times) for times in zip(*both, strict=True))
    fast = faster_half(instrumented_s)
    return NetworkTimes(
        float(whole_s[faster_half(whole_s)].mean()),
        float(instrumented_s[fast].mean()),
        len(whole_s),
        timer.parts(fast),
        warmed_up - started,
        ended - warmed_up,
    )


@dataclass(frozen=True)
class _Step:
    """One forward pass, or one training step: forward pass and loss, backward pass, update."""

    forward: Callable[[], Any]  # returns the loss in a training step
    update: Callable[[], None] | None = None
    """Changes the weights and drops the gradients; None: there are no gradients."""

    def run(self) -> None:
        """Do all of it."""
        found = self.forward()
        if self.update is not None:
            found.backward()
            self.update()


def _prepared(request: TimeNetwork) -> _Step:
    """Return the step of a network on seeded inputs, in their device, dtype and memory format."""
    name, dtype = request.maker, torch_dtype(request.dtype)
    module = build(name) if name in BUILDERS else uncompiled(load_model(name)).eval()
    generator = torch.Generator().manual_seed(_SEED)
    inputs = [torch.randn(shape, generator=generator) for shape in request.input_shapes]
    module = module.to(request.device, dtype)
    inputs = [x.to(request.device, dtype) for x in inputs]
    if request.memory_format == "channels_last":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    if request.direction != TRAINING:
        return _Step(lambda: module(*inputs))
    module.train()
    labels = torch.randint(CLASSES, (len(inputs[0]),), generator=generator).to(request.device)
    optimizer = torch.optim.SGD(module.parameters(), _LEARNING_RATE)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return _Step(lambda: _loss(module(*inputs), labels), update)


def _loss(outputs: Any, labels: Tensor) -> Any:
    """Return the cross entropy of classes; of other outputs, the sum of their mean squares."""
    if isinstance(outputs, Tensor) and outputs.shape[1:] == (CLASSES,):
        return functional.cross_entropy(outputs, labels)
    own = [x for x in tree_leaves(outputs) if isinstance(x, Tensor) and x.requires_grad]
    return sum(x.square().mean() for x in own)


def _zeros(x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
    """Return the numbers of zeros that `F.pad` adds; none if it adds others."""
    return pad if mode == "constant" and not value else ()


def _rounds(seconds: float, measure: Callable[[], _T]) -> list[_T]:
    """Repeat `measure` for the given seconds, within the least and largest number of rounds."""
    found: list[_T] = []
    until = perf_counter() + seconds
    while len(found) < _MIN_ROUNDS or (perf_counter() < until and len(found) < _MAX_ROUNDS):
        found.append(measure())
    return found


@dataclass
class _TimedCall:
    """One call in the forward pass, or its backward pass, with one sample per pass."""

    kind: str
    problem: ConvProblem | None
    samples: list[float] = field(default_factory=list)


class _CallTimer(TorchFunctionMode):
    """Timer of every call from Python into torch, and of its backward pass, each waited for.

    The time of an empty call, taken before each forward pass, is subtracted. Dispatch and
    bookkeeping between the calls are not: they make the instrumented forward pass longer. A
    backward pass is the time between hooks on the nodes that a call adds to autograd's graph.
    """

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._clock, self._synchronize = device.clock, device.synchronize
        self._calls: list[_TimedCall] = []
        self._idle: list[float] = []  # seconds of empty calls
        self._next, self._is_first = 0, True
        self._zeros_of = WeakTensorKeyDictionary()  # added by `F.pad`, per padded tensor
        self._nodes: set[Node] = set()  # of the graph, each with hooks

    def time_parts(self, step: _Step) -> float:
        """Time the parts of one step; return its own seconds.

        Raises `ValueError` if its calls are not those of the first step.
        """
        self._next = 0
        self._idle.append(self._timed(lambda: None, (), {})[1])
        with self:
            started = perf_counter()
            found = step.forward()
        if step.update is not None:
            found.backward()
            self._record("optimizer", self._clock(step.update))
        seconds = perf_counter() - started  # each part was waited for
        self._nodes.clear()
        self._is_first = False
        if self._next != len(self._calls):
            raise ValueError(_OTHER_CALLS)
        return seconds

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Time the call and return its result."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":  # an attribute, such as `x.shape`
            return func(*args, **kwargs)
        result, seconds = self._timed(func, args, kwargs)
        kinds = (kind for kind, parts in _KINDS.items() if any(part in name for part in parts))
        kind = next(kinds, OTHER)
        problem = None
        if self._is_first and kind == CONVOLUTION and "transpose" not in name:
            with suppress(ValueError):  # no `ConvProblem` describes it
                zeros = self._zeros_of.get(args[0], ())  # type: ignore[no-untyped-call]
                problem = with_zeros(convolution_problem(*args, **kwargs), zeros)
        self._record(kind, seconds, problem)
        if self._is_first and name == "pad":
            self._zeros_of[result] = _zeros(*args, **kwargs)
        if isinstance(result, Tensor) and result.grad_fn is not None:
            backward = self._record(BACKWARD + kind, 0.0, problem)
            self._time_backward(result.grad_fn, backward)
        return result

    def _record(self, kind: str, seconds: float, problem: ConvProblem | None = None) -> list[float]:
        """Add a sample to the next call, or the next call itself in the first pass."""
        if self._is_first:
            self._calls.append(_TimedCall(kind, problem))
        call = self._calls[self._next] if self._next < len(self._calls) else None
        if call is None or call.kind != kind:
            raise ValueError(_OTHER_CALLS)
        call.samples.append(seconds)
        self._next += 1
        return call.samples

    def _time_backward(self, node: Node | None, samples: list[float]) -> None:
        """Add the time of a node, and of those before it without hooks, to the last sample."""
        if node is None or node in self._nodes or not node.next_functions:
            return  # the last ones only store a gradient
        self._nodes.add(node)
        started = 0.0

        def before(gradients: object) -> None:
            nonlocal started
            self._synchronize()
            started = perf_counter()

        def after(gradients: object, given: object) -> None:
            self._synchronize()
            samples[-1] += perf_counter() - started

        node.register_prehook(before)
        node.register_hook(after)
        for earlier, _ in node.next_functions:
            self._time_backward(earlier, samples)

    def _timed(self, func: Any, args: Sequence[Any], kwargs: Any) -> tuple[Any, float]:
        """Return the call's result and its seconds."""
        results: list[Any] = []
        seconds = self._clock(lambda: results.append(func(*args, **kwargs)))
        return results[0], seconds

    def parts(self, passes: NDArray[np.intp]) -> list[TimedModule]:
        """Return the averages of the given passes per kind or problem, in order of first calls."""
        found: dict[tuple[str, ConvProblem | None], list[float]] = {}
        idle_s = np.median(self._idle)
        for call in self._calls:
            samples = np.array(call.samples)[passes]
            own_s = float(np.maximum(samples - idle_s, _TICK_S).mean())
            found.setdefault((call.kind, call.problem), []).append(own_s)
        return [TimedModule(*key, len(times), sum(times)) for key, times in found.items()]
