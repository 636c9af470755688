"""What a convolution module does to one input: margins first, then a plain convolution."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.problems.problem import ConvProblem, Size

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Geometry(NamedTuple):
    """What a module does to one input: it pads in front of the convolution, where it must."""

    problem: ConvProblem
    margins: tuple[int, ...]
    """As `torch.nn.functional.pad` takes them; empty: none."""
    mode: str
    """Of that padding."""

    def padded(self, x: Tensor) -> Tensor:
        """The input of the plain convolution that is left."""
        return pad(x, self.margins, mode=self.mode) if self.margins else x


def geometry(module: Any, shape: Size) -> Geometry | None:
    """The plain convolution that an `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d` does at this input.

    None where no `ConvProblem` stands for it: without a batch dimension, or what torch refuses.
    """
    rank = len(module.kernel_size)
    if len(shape) != rank + 2:
        return None
    margins, mode, padding = _padding(module, rank)
    added = [margins[i] + margins[i + 1] for i in range(0, len(margins), 2)][::-1] or [0] * rank
    try:
        problem = ConvProblem(
            shape[1],
            module.out_channels,
            tuple(size + rows for size, rows in zip(shape[2:], added, strict=True)),
            tuple(module.kernel_size),
            batch_size=shape[0],
            stride=tuple(module.stride),
            padding=padding,
            dilation=tuple(module.dilation),
            groups=module.groups,
            bias=module.bias is not None,
        )
    except ValueError:
        return None
    return Geometry(problem, margins, mode) if problem.weight_shape == module.weight.shape else None


def _padding(module: Any, rank: int) -> tuple[tuple[int, ...], str, Size]:
    """Margins to be added first, their mode, and the zeros that the convolution adds itself."""
    if module.padding_mode != "zeros":
        return tuple(module._reversed_padding_repeated_twice), module.padding_mode, (0,) * rank
    if module.padding == "valid":
        return (), "constant", (0,) * rank
    if module.padding != "same":
        return (), "constant", tuple(module.padding)
    added = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    odd = [side for rows in reversed(added) for side in (0, rows % 2)]  # torch: one zero behind
    return tuple(odd) if any(odd) else (), "constant", tuple(rows // 2 for rows in added)


def memory_formats(x: Tensor) -> list[str]:
    """The words for how `x` is laid out: both for one channel or one pixel, none for a view."""
    last = _CHANNELS_LAST.get(x.dim())
    found = ["contiguous"] if x.is_contiguous() else []
    if last is not None and x.is_contiguous(memory_format=last):
        found.append("channels_last")
    return found


Key = tuple[torch.Size, torch.dtype, str]
"""Shape, dtype and device type of an input."""


def key_of(x: Tensor) -> Key:
    """What an input has to share with the measured one."""
    return x.shape, x.dtype, x.device.type
