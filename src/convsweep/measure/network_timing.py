"""One network's time: of the whole forward pass, and of each of its calls into torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convsweep.measure.inputs import torch_dtype
from convsweep.problems.model_loader import load_model
from convsweep.problems.networks import BUILDERS, build
from convsweep.problems.problem import ConvProblem, Size
from convsweep.results.network_store import CONVOLUTION, OTHER
from convsweep.system.devices import Clock, find_device

_SEED = 1
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 200
_TICK_S = 1e-9  # of the host's clock: the least that a call is said to take
_Measured = TypeVar("_Measured")

_OTHER_CALLS = "the network does not make the same calls in each forward pass"

# The kind of a call by a part of its function's name; the first that fits.
_KINDS = {
    "conv": CONVOLUTION,
    "batch_norm": "batch norm",
    "relu": "activation",
    "hardtanh": "activation",
    "hardswish": "activation",
    "sigmoid": "activation",
    "silu": "activation",
    "gelu": "activation",
    "softmax": "activation",
    "max_pool": "pooling",
    "avg_pool": "pooling",
    "linear": "linear",
    "matmul": "linear",
}


@dataclass(frozen=True)
class TimeNetwork:
    """Asks for one network's times: `NetworkTimes`, or an `Outcome` where that failed."""

    maker: str
    """A builder's name, or what `load_model` takes."""
    input_shapes: Sequence[Size]
    device: str
    dtype: str
    memory_format: str
    round_s: float = 0.3
    """How long it is timed whole, and as long in parts; three times at least."""


@dataclass(frozen=True)
class TimedModule:
    """The calls of one kind in a forward pass; of convolutions, those of one problem."""

    kind: str
    problem: ConvProblem | None
    count: int
    total_s: float
    """Of all of them in one forward pass, less what reading a call that does nothing takes."""


@dataclass(frozen=True)
class NetworkTimes:
    """A network's forward pass as it is, and taken apart."""

    whole_s: float
    instrumented_s: float
    """The forward pass while its parts are timed; it is longer by what that costs."""
    calls: int
    """How often it was timed in either way, in turns."""
    parts: Sequence[TimedModule]


def time_network(request: TimeNetwork) -> NetworkTimes:
    """Make the network, warm it up, and time it whole and in parts in turns.

    Raises:
        ValueError: the network can't be made, or does something else in each forward pass.
    """
    clock = find_device(request.device).clock
    module, inputs = _prepared(request)

    def forward() -> None:
        module(*inputs)

    watch = _Watch(clock)
    with redirect_stdout(StringIO()):  # a user's model may print at every call
        _rounds(request.round_s / 3, lambda: clock(forward))
        both = _rounds(2 * request.round_s, lambda: (clock(forward), watch.follow(forward)))
    whole_s, instrumented_s = (np.array(times) for times in zip(*both, strict=True))
    usual = middle_half(instrumented_s)
    return NetworkTimes(
        float(whole_s[middle_half(whole_s)].mean()),
        float(instrumented_s[usual].mean()),
        len(whole_s),
        watch.parts(usual),
    )


def middle_half(seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which of many forward passes are usual ones: neither the fastest quarter nor the slowest.

    A pass is kept with all its parts or left out with them, so that parts add up to the whole:
    what interrupts a long pass in most of its calls spares each single call in most.
    """
    outside = len(seconds) // 4
    return np.argsort(seconds, kind="stable")[outside : len(seconds) - outside]


def _prepared(request: TimeNetwork) -> tuple[nn.Module, list[Tensor]]:
    """The network and seeded inputs, where and as they are timed."""
    name, dtype = request.maker, torch_dtype(request.dtype)
    module = build(name) if name in BUILDERS else load_model(name).eval()
    generator = torch.Generator().manual_seed(_SEED)
    inputs = [torch.randn(shape, generator=generator) for shape in request.input_shapes]
    module = module.to(request.device, dtype)
    inputs = [x.to(request.device, dtype) for x in inputs]
    if request.memory_format == "channels_last":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    return module, inputs


def _rounds(seconds: float, measure: Callable[[], _Measured]) -> list[_Measured]:
    """What is measured again and again, until so long has passed and there is enough."""
    found: list[_Measured] = []
    until = perf_counter() + seconds
    while len(found) < _FEWEST_ROUNDS or (perf_counter() < until and len(found) < _MOST_ROUNDS):
        found.append(measure())
    return found


@dataclass
class _Place:
    """One call in the forward pass."""

    kind: str
    problem: ConvProblem | None
    samples: list[float] = field(default_factory=list)


def _nothing() -> None:
    """Take no time of its own."""


class _Watch(TorchFunctionMode):
    """Times every call that Python makes into torch, each to its end.

    Before each forward pass it reads a call that does nothing, and takes that off the others. It
    can't read what it costs besides, dispatch and bookkeeping between calls; they make the forward
    pass longer, and may make a short call longer than it is without them.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._places: list[_Place] = []
        self._idle: list[float] = []  # readings of a call that does nothing
        self._next, self._is_first = 0, True

    def follow(self, forward: Callable[[], None]) -> float:
        """Time the parts of one forward pass, whose calls must be those of the first; its own."""
        self._next = 0
        self._idle.append(self._timed(_nothing, (), {})[1])
        with self:
            started = perf_counter()
            forward()
            seconds = perf_counter() - started  # each part was waited for
        self._is_first = False
        if self._next != len(self._places):
            raise ValueError(_OTHER_CALLS)
        return seconds

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """The call's own result."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":  # an attribute, such as `x.shape`
            return func(*args, **kwargs)
        result, seconds = self._timed(func, args, kwargs)
        kind = next((kind for part, kind in _KINDS.items() if part in name), OTHER)
        if self._is_first:
            is_convolution = kind == CONVOLUTION and "transpose" not in name
            problem = called_problem(*args, **kwargs) if is_convolution else None
            self._places.append(_Place(kind, problem))
        place = self._places[self._next] if self._next < len(self._places) else None
        if place is None or place.kind != kind:
            raise ValueError(_OTHER_CALLS)
        place.samples.append(seconds)
        self._next += 1
        return result

    def _timed(self, func: Any, args: Sequence[Any], kwargs: Any) -> tuple[Any, float]:
        """What the call gives, and its seconds by the clock."""
        results: list[Any] = []
        seconds = self._clock(lambda: results.append(func(*args, **kwargs)))
        return results[0], seconds

    def parts(self, usual: NDArray[np.intp]) -> list[TimedModule]:
        """Every kind, and of convolutions every problem, in the order of their first calls.

        Args:
            usual: which of the forward passes are counted.
        """
        found: dict[tuple[str, ConvProblem | None], list[float]] = {}
        idle_s = np.median(self._idle)
        for place in self._places:
            samples = np.array(place.samples)[usual]
            own_s = float(np.maximum(samples - idle_s, _TICK_S).mean())
            found.setdefault((place.kind, place.problem), []).append(own_s)
        return [
            TimedModule(kind, problem, len(times), sum(times))
            for (kind, problem), times in found.items()
        ]


def called_problem(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Size = 1,
    padding: str | int | Size = 0,
    dilation: int | Size = 1,
    groups: int = 1,
) -> ConvProblem | None:
    """The problem of a call of torch's `conv1d`, `conv2d` or `conv3d`; None where there is none.

    Args:
        input: (N, C_in, *input_size), or the same without N.
        weight: (C_out, C_in / groups, *kernel_size).
        bias: (C_out,) or None.
        stride: one number for all dimensions, or one for each; so too what follows.
        padding: also "valid" and "same", as torch has them.
        dilation: distance of taps.
        groups: of channels.
    """
    kernel_size = tuple(weight.shape[2:])
    input_size = tuple(input.shape[-len(kernel_size) :])
    if padding == "same":
        added = _added(kernel_size, dilation)
        # An odd number of rows: torch first copies the input, with one zero more behind.
        input_size = tuple(size + rows % 2 for size, rows in zip(input_size, added, strict=True))
        padding = tuple(rows // 2 for rows in added)
    try:
        return ConvProblem(
            weight.shape[1] * groups,
            weight.shape[0],
            input_size,
            kernel_size,
            batch_size=input.shape[0] if input.dim() == weight.dim() else 1,
            stride=_spread(stride),
            padding=0 if isinstance(padding, str) else _spread(padding),
            dilation=_spread(dilation),
            groups=groups,
            bias=bias is not None,
        )
    except ValueError:
        return None


def _added(kernel_size: Size, dilation: int | Size) -> Size:
    """How many rows of zeros keep the size, in each dimension."""
    steps = _spread(dilation)
    each = (steps,) * len(kernel_size) if isinstance(steps, int) else steps
    return tuple(step * (taps - 1) for step, taps in zip(each, kernel_size, strict=True))


def _spread(values: int | Size) -> int | Size:
    """One number for all dimensions, or one for each; torch takes a list of one, too."""
    if isinstance(values, int):
        return values
    return values[0] if len(values) == 1 else tuple(values)
