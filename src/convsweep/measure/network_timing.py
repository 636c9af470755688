"""Time of one network: its whole forward pass, and each of its calls into torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convsweep.measure.inputs import torch_dtype
from convsweep.measure.messages import NetworkTimes, TimedModule, TimeNetwork
from convsweep.problems.conv_call import convolution_problem
from convsweep.problems.model_loader import load_model
from convsweep.problems.networks import BUILDERS, build
from convsweep.problems.problem import ConvProblem
from convsweep.problems.user_code import eager, uncompiled, user_code
from convsweep.results.networks import CONVOLUTION, OTHER
from convsweep.system.devices import Clock, find_device

_SEED = 1
_MIN_ROUNDS, _MAX_ROUNDS = 3, 200
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
}


def time_network(request: TimeNetwork) -> NetworkTimes:
    """Make the network, warm it up, and time it whole and in parts, in turns.

    Raises:
        ValueError: the network cannot be made, or its calls differ between forward passes.
    """
    clock = find_device(request.device).clock
    timer = _CallTimer(clock)
    with user_code(shown=False):  # it may print at every call
        module, inputs = _prepared(request)

        def forward() -> None:
            module(*inputs)

        with eager():
            _rounds(request.round_s / 3, lambda: clock(forward))
            both = _rounds(2 * request.round_s, lambda: (clock(forward), timer.time_parts(forward)))
    whole_s, instrumented_s = (np.array(times) for times in zip(*both, strict=True))
    typical = middle_half(instrumented_s)
    return NetworkTimes(
        float(whole_s[middle_half(whole_s)].mean()),
        float(instrumented_s[typical].mean()),
        len(whole_s),
        timer.parts(typical),
    )


def middle_half(seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of the forward passes without the fastest and the slowest quarter.

    A pass is kept or dropped with all its parts, so that the parts add up to the whole.
    """
    outside = len(seconds) // 4
    return np.argsort(seconds, kind="stable")[outside : len(seconds) - outside]


def _prepared(request: TimeNetwork) -> tuple[nn.Module, list[Tensor]]:
    """Return the network and seeded inputs on their device, in their dtype and memory format."""
    name, dtype = request.maker, torch_dtype(request.dtype)
    module = build(name) if name in BUILDERS else uncompiled(load_model(name)).eval()
    generator = torch.Generator().manual_seed(_SEED)
    inputs = [torch.randn(shape, generator=generator) for shape in request.input_shapes]
    module = module.to(request.device, dtype)
    inputs = [x.to(request.device, dtype) for x in inputs]
    if request.memory_format == "channels_last":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    return module, inputs


def _rounds(seconds: float, measure: Callable[[], _T]) -> list[_T]:
    """Repeat `measure` for the given seconds, within the least and largest number of rounds."""
    found: list[_T] = []
    until = perf_counter() + seconds
    while len(found) < _MIN_ROUNDS or (perf_counter() < until and len(found) < _MAX_ROUNDS):
        found.append(measure())
    return found


@dataclass
class _TimedCall:
    """One call in the forward pass, with one sample per pass."""

    kind: str
    problem: ConvProblem | None
    samples: list[float] = field(default_factory=list)


class _CallTimer(TorchFunctionMode):
    """Timer of every call from Python into torch, each waited for.

    The time of an empty call, taken before each forward pass, is subtracted. Dispatch and
    bookkeeping between the calls are not: they make the instrumented forward pass longer.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._calls: list[_TimedCall] = []
        self._idle: list[float] = []  # seconds of empty calls
        self._next, self._is_first = 0, True

    def time_parts(self, forward: Callable[[], None]) -> float:
        """Time the parts of one forward pass; return its own seconds.

        Raises `ValueError` if its calls are not those of the first pass.
        """
        self._next = 0
        self._idle.append(self._timed(lambda: None, (), {})[1])
        with self:
            started = perf_counter()
            forward()
            seconds = perf_counter() - started  # each part was waited for
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
        if self._is_first:
            problem = None
            if kind == CONVOLUTION and "transpose" not in name:
                with suppress(ValueError):  # no `ConvProblem` describes it
                    problem = convolution_problem(*args, **kwargs)
            self._calls.append(_TimedCall(kind, problem))
        call = self._calls[self._next] if self._next < len(self._calls) else None
        if call is None or call.kind != kind:
            raise ValueError(_OTHER_CALLS)
        call.samples.append(seconds)
        self._next += 1
        return result

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
