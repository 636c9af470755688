"""Convolution for references, in bands."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.backends.tensor_layout import CONV_BY_RANK, bind_conv
from convsweep.problems.problem import ConvProblem

_BAND_BYTES = 2**28


def convolve(problem: ConvProblem, x: Tensor, w: Tensor) -> Tensor:
    """Convolve in bands of output rows: in float64, torch unfolds its whole input at once.

    A transposed convolution is not split; it unfolds one image at a time.
    """
    if problem.transposed:
        return bind_conv(problem, w, None)(x)
    x = pad_input(problem, x)
    row = math.prod(problem.output_size[1:]) * problem.batch_size
    rows = max(1, _BAND_BYTES // (8 * problem.in_channels * math.prod(problem.kernel_size) * row))
    stride, reach = problem.stride[0], problem.dilation[0] * (problem.kernel_size[0] - 1) + 1
    conv, bands = CONV_BY_RANK[problem.rank], []
    for first in range(0, problem.output_size[0], rows):
        last = min(first + rows, problem.output_size[0]) - 1
        band = x.narrow(2, first * stride, (last - first) * stride + reach)
        bands.append(conv(band, w, None, problem.stride, 0, problem.dilation, problem.groups))
    return torch.cat(bands, 2) if len(bands) > 1 else bands[0]


def pad_input(problem: ConvProblem, x: Tensor) -> Tensor:
    """Return an input with its padding; itself if it has none."""
    if not any(map(any, problem.margins)):
        return x
    return pad(x, [side for both in reversed(problem.margins) for side in both])
