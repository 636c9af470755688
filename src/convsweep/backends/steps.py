"""Named steps of a strategy, and the stopwatch that times them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from time import perf_counter
from typing import Any, Literal, TypeVar

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.problems.problem import ConvProblem

StepName = Literal[
    "layout", "pad", "gather", "input_transform", "product", "output_transform", "shift",
    "depthwise", "pointwise", "bias", "join", "allocate", "kernel",
]  # fmt: skip
"""Vocabulary of steps, explained in docs/strategies.md."""

REST = "rest"  # Time of a call outside of its steps

Result = TypeVar("Result")


def step(name: StepName) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Return the decorator for a step: a function of `prepare` that `conv` calls.

    It returns the function itself, so that a timed call contains no clock. Only when a `Stopwatch`
    prepares the strategy is each call of the function timed.
    """
    stopwatch = _stopwatch.get()
    return (lambda function: function) if stopwatch is None else partial(stopwatch.timed, name)


def is_timed() -> bool:
    """Return whether a `Stopwatch` prepares the strategy: fused code may then run in parts."""
    return _stopwatch.get() is not None


def pad_step(margins: Sequence[tuple[int, int]], axes_after: int = 0) -> Conv:
    """Return the step that adds zeros before and after the image along each axis.

    `axes_after` is 1 if the channels follow the axes of the image.
    """
    from torch.nn.functional import pad

    last_axis_first = [0, 0] * axes_after + [side for both in reversed(margins) for side in both]
    padded = step("pad")(lambda image: pad(image, last_axis_first))
    return padded if any(last_axis_first) else lambda image: image


def bias_step(bias: Tensor | None, axes_after: int) -> Conv:
    """Return the step that adds one number per output channel, which `axes_after` axes follow."""
    if bias is None:
        return lambda y: y
    numbers = bias.view(-1, *[1] * axes_after)
    return step("bias")(lambda y: y + numbers)


class Stopwatch:
    """Time per step of a call. Time of a step within another one counts for the inner one only."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """`clock` returns seconds; for a device it first waits until all work is done."""
        self._clock = clock
        self._start()

    def prepare(self, backend: Backend, problem: ConvProblem, weights: Weights) -> Conv:
        """Return the prepared strategy with a clock between its steps."""
        context = copy_context()
        context.run(_stopwatch.set, self)
        return context.run(backend.prepare, problem, weights)

    def seconds(self, conv: Conv, x: Tensor) -> dict[str, float]:
        """Call `conv` and return the seconds per step and of the `REST`, which add up to all."""
        self._start()
        conv(x)
        self._lap(REST)
        return self._seconds

    def timed(self, name: str, function: Callable[..., Any]) -> Any:
        """Return the function with the time of its calls added to a step."""

        def timed_function(*arguments: Any) -> Any:
            outer = self._running
            self._lap(name)
            result = function(*arguments)
            del arguments  # freed within the step, as without a stopwatch
            self._lap(outer)
            return result

        return timed_function

    def _start(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._running, self._since = REST, self._clock()

    def _lap(self, following: str) -> None:
        now = self._clock()
        self._seconds[self._running] += now - self._since
        self._running, self._since = following, now


_stopwatch: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)
