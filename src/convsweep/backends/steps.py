"""Named steps of a strategy, and the stopwatch that times them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any, TypeVar

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.problems.problem import ConvProblem

STEPS = {
    "layout": "change between channels first and channels last",
    "pad": "zeros around the image",
    "gather": "copy of windows or pixels to the rows or columns of a matrix",
    "input_transform": "spectrum of the image or of its tiles",
    "product": "matrix products",
    "output_transform": "image of a spectrum or of the spectra of tiles",
    "shift": "results of one tap moved to their outputs and added",
    "depthwise": "depthwise convolution",
    "pointwise": "1x1 convolution",
    "bias": "one number added per output channel",
    "join": "parts of the output put together",
    "allocate": "memory for the output",
    "kernel": "own compiled kernel",
}
"""Names of all steps. `STEPS` of one strategy need not be in this order."""

REST = "rest"
"""Time of a call outside of its steps."""

Step = TypeVar("Step", bound=Callable[..., Any])


def step(name: str) -> Callable[[Step], Step]:
    """Return the decorator for a named step in `prepare`: a function that `conv` calls.

    It returns the function itself, so that a timed call contains no clock. Only if a `Stopwatch`
    prepares the strategy are calls of the function timed.
    """
    stopwatch = _stopwatch.get()
    return (lambda function: function) if stopwatch is None else stopwatch.timed(name)


def pad_step(margins: Sequence[tuple[int, int]], axes_after: int = 0) -> Conv:
    """Return the step that adds zeros before and after the image along each of its axes.

    `axes_after` is the number of axes that follow: 1 if channels are last.
    """
    from torch.nn.functional import pad

    last_first = [0, 0] * axes_after + [zeros for both in reversed(margins) for zeros in both]

    @step("pad")
    def padded(image: Tensor) -> Tensor:
        return pad(image, last_first)

    return padded if any(last_first) else lambda image: image


def bias_step(bias: Tensor | None, axes_after: int) -> Conv:
    """Return the step that adds one number to all pixels of each output channel.

    `axes_after` is the number of axes that follow the channels.
    """
    if bias is None:
        return lambda y: y
    numbers = bias.view(-1, *[1] * axes_after)

    @step("bias")
    def with_bias(y: Tensor) -> Tensor:
        return y + numbers

    return with_bias


class Stopwatch:
    """Time per step of a call. Time of a step within another one counts for the inner one only."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """`clock` returns seconds; for a device it first waits until all work is done."""
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._running, self._since = REST, 0.0

    def prepare(self, backend: Backend, problem: ConvProblem, weights: Weights) -> Conv:
        """Return the prepared strategy with a clock between its steps."""
        token = _stopwatch.set(self)
        try:
            return backend.prepare(problem, weights)
        finally:
            _stopwatch.reset(token)

    def seconds(self, conv: Conv, x: Tensor) -> dict[str, float]:
        """Call `conv` and return the seconds per step, in order, and of the `REST`.

        The sum is the time of the call. A strategy without steps has a `REST` only.
        """
        self._seconds = {}
        self._running, self._since = REST, self._clock()
        conv(x)
        self._lap(REST)
        rest = self._seconds.pop(REST)
        return {**self._seconds, REST: rest}

    def timed(self, name: str) -> Callable[[Any], Any]:
        """Return the decorator that adds the time of each call to a step."""

        def decorate(function: Any) -> Any:
            def timed_step(*arguments: Any) -> Any:
                outer = self._running
                self._lap(name)
                result = function(*arguments)
                del arguments  # the step frees what it alone used
                self._lap(outer)
                return result

            return timed_step

        return decorate

    def _lap(self, following: str) -> None:
        now = self._clock()
        self._seconds[self._running] = self._seconds.get(self._running, 0.0) + now - self._since
        self._running, self._since = following, now


_stopwatch: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)
