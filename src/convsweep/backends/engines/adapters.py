"""Between a call of PyTorch's and an engine: layouts, inputs not prepared for, calling threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv
from convsweep.backends.tensor_layout import check_input, in_layout_of
from convsweep.problems.problem import ConvProblem

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def is_channels_last(x: Tensor) -> bool:
    """Whether all channels of a pixel lie together; not where that is contiguous as well."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def example(problem: ConvProblem, channels_last: bool) -> Tensor:
    """An input of zeros in one of the layouts."""
    memory_format = _CHANNELS_LAST[problem.rank + 2] if channels_last else torch.contiguous_format
    return torch.zeros(problem.input_shape).contiguous(memory_format=memory_format)


class PerThread(threading.local):
    """What calls of an engine may not share, as `own`: made at a calling thread's first call."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.own = make()


def contiguous_between(conv: Conv, shape: Sequence[int]) -> Conv:
    """A convolution that knows contiguous tensors of this shape alone, for every layout.

    What is converted is converted within the call: a contiguous answer for a contiguous input, a
    channels_last one for a channels_last one.

    Raises:
        ValueError: at a call, an input of another shape, or not in float32.
    """

    def converted(x: Tensor) -> Tensor:
        check_input(x, shape)
        if x.is_contiguous():
            return conv(x)
        y = conv(x.contiguous())
        return in_layout_of(x, y) if is_channels_last(x) else y

    return converted


def made_for_each(make: Callable[[bool], Conv], channels_last: bool, shape: Sequence[int]) -> Conv:
    """A convolution made apart for each layout: `make(channels_last)`.

    Nobody knows the input's layout before the first call. The one that the weights have is made
    at once, the other one when an input first has it.

    Raises:
        ValueError: at a call, an input of another shape, or not in float32.
    """
    made = {channels_last: make(channels_last)}

    def conv(x: Tensor) -> Tensor:
        check_input(x, shape)
        rows = is_channels_last(x)
        if rows not in made:
            made[rows] = make(rows)
        return made[rows](x if rows else x.contiguous())

    return conv
