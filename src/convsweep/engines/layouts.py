"""Between PyTorch's two layouts and the one that an engine wants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from convsweep.backend import Conv
from convsweep.layouts import in_layout_of
from convsweep.problem import ConvProblem

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def is_channels_last(x: Tensor) -> bool:
    """Whether all channels of a pixel lie together; not where that is contiguous as well."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def example(problem: ConvProblem, channels_last: bool) -> Tensor:
    """An input of zeros in one of the layouts."""
    memory_format = _CHANNELS_LAST[problem.rank + 2] if channels_last else torch.contiguous_format
    return torch.zeros(problem.input_shape).contiguous(memory_format=memory_format)


def contiguous_between(conv: Conv) -> Conv:
    """A convolution that knows contiguous tensors alone, for every layout.

    What is converted is converted within the call: a contiguous answer for a contiguous input, a
    channels_last one for a channels_last one.
    """

    def converted(x: Tensor) -> Tensor:
        if x.is_contiguous():
            return conv(x)
        y = conv(x.contiguous())
        return in_layout_of(x, y) if is_channels_last(x) else y

    return converted


def made_for_each(make: Callable[[bool], Conv], channels_last: bool) -> Conv:
    """A convolution made apart for each layout: `make(channels_last)`.

    Nobody knows the input's layout before the first call. The one that the weights have is made
    at once, the other one when an input first has it.
    """
    made = {channels_last: make(channels_last)}

    def conv(x: Tensor) -> Tensor:
        rows = is_channels_last(x)
        if rows not in made:
            made[rows] = make(rows)
        return made[rows](x if rows else x.contiguous())

    return conv
