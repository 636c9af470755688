"""Adapters between a PyTorch call and an engine: layouts, input checks, calling threads."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv, Implementation, tells
from convsweep.backends.tensor_layout import (
    CHANNELS_LAST,
    check_input,
    in_layout_of,
    is_channels_last,
)
from convsweep.problems.problem import ConvProblem


def example(problem: ConvProblem, channels_last: bool, dtype: torch.dtype) -> Tensor:
    """Return an input of zeros, contiguous or channels_last."""
    memory_format = CHANNELS_LAST[problem.rank + 2] if channels_last else torch.contiguous_format
    return torch.zeros(problem.input_shape, dtype=dtype).contiguous(memory_format=memory_format)


class PerThread(threading.local):
    """Engine state that threads may not share. `own` is made at a thread's first call."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.own = make()


def for_contiguous(conv: Conv, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Conv:
    """Wrap a function of contiguous tensors so that it takes every layout.

    Inputs and outputs are converted within the call: contiguous input gives contiguous output,
    channels_last input gives channels_last output. `conv` tells what it runs, to which they add.

    Raises:
        ValueError: at a call, an input of another shape or dtype.
    """

    def converted(x: Tensor) -> Tensor:
        check_input(x, shape, dtype)
        if x.is_contiguous():
            return conv(x)
        y = conv(x.contiguous())
        return in_layout_of(x, y) if is_channels_last(x) else y

    def implementation(x: Tensor) -> Implementation:
        found: Implementation = conv.implementation(x.contiguous())  # type: ignore[attr-defined]
        if x.is_contiguous() or found.reorders is None:
            return found
        conversions = 1 + is_channels_last(x)
        return replace(found, reorders=found.reorders + conversions, reorder_s=None)

    return tells(converted, implementation)


def for_each_layout(
    make: Callable[[bool], Conv],
    channels_last: bool,
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> Conv:
    """Return a function that calls `make(channels_last)` once per layout of its inputs.

    The input's layout is unknown in `prepare`. The function for the weights' layout,
    `channels_last`, is made at once, the other one at the first input that needs it.

    Raises:
        ValueError: at a call, an input of another shape or dtype.
    """
    made = {channels_last: make(channels_last)}

    def conv(x: Tensor) -> Tensor:
        check_input(x, shape, dtype)
        last = is_channels_last(x)
        if last not in made:
            made[last] = make(last)
        return made[last](x if last else x.contiguous())

    def asked(name: str, x: Tensor) -> Implementation:
        conv(x)
        found: Implementation = getattr(made[is_channels_last(x)], name)(x)
        return found

    if hasattr(made[channels_last], "implementation"):
        tells(conv, partial(asked, "implementation"), partial(asked, "measured"))
    return conv
