"""Plain convolution that a convolution module computes, and the padding in front of it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.backends.tensor_layout import CHANNELS_LAST
from convsweep.problems.conv_call import convolution_problem
from convsweep.problems.problem import ConvProblem

Key = tuple[torch.Size, torch.dtype, str]
"""Shape, dtype and device type of an input: what a measured input and a call must share."""


class Geometry(NamedTuple):
    """Padding of one input, and the convolution that follows."""

    problem: ConvProblem
    margins: tuple[int, ...]  # As `torch.nn.functional.pad` takes them; empty: none
    mode: str  # Padding mode

    def padded(self, x: Tensor) -> Tensor:
        """Return the input of the plain convolution."""
        return pad(x, self.margins, mode=self.mode) if self.margins else x


def geometry(module: Any, x: Tensor) -> Geometry | None:
    """Return the geometry of an `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d` at an input like `x`.

    None if no `ConvProblem` has it: without a batch dimension, or if torch refuses the input.
    """
    if x.dim() != len(module.kernel_size) + 2:
        return None
    margins: tuple[int, ...] = ()
    mode, padding = "constant", module.padding
    if module.padding_mode != "zeros":
        margins, mode = tuple(module._reversed_padding_repeated_twice), module.padding_mode
        padding = 0
    try:
        padded = pad(torch.empty(x.shape, dtype=x.dtype, device="meta"), margins, mode=mode)
        how = (module.stride, padding, module.dilation, module.groups)
        problem = convolution_problem(padded, module.weight, module.bias, *how)
    except (ValueError, RuntimeError):
        return None
    declared = (module.out_channels, tuple(module.kernel_size))
    as_declared = (problem.out_channels, problem.kernel_size) == declared
    return Geometry(problem, margins, mode) if as_declared else None


def memory_formats(x: Tensor) -> list[str]:
    """Return the memory formats of `x`: both for one channel or one pixel, none for a view."""
    last = CHANNELS_LAST.get(x.dim())
    found = ["contiguous"] if x.is_contiguous() else []
    if last is not None and x.is_contiguous(memory_format=last):
        found.append("channels_last")
    return found


def has_format(x: Tensor, memory_format: str) -> bool:
    """Return whether `x` has a memory format of that name."""
    is_last = memory_format != "contiguous"
    return x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()]) if is_last else x.is_contiguous()


def key_of(x: Tensor) -> Key:
    """Return the key of an input."""
    return x.shape, x.dtype, x.device.type
