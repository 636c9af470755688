"""Convolution of any dtype for references: in bands, and transposed ones by their definition."""

from __future__ import annotations

import math
import operator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.backends.tensor_layout import CONV_BY_RANK
from convsweep.problems.problem import ConvProblem

_BAND_BYTES = 2**28


def convolve(problem: ConvProblem, x: Tensor, w: Tensor) -> Tensor:
    """Convolve in bands of output rows: in float64, torch unfolds its whole input at once.

    A transposed convolution is one with stride 1 over an image with zeros between its pixels.
    """
    if problem.transposed:
        problem, x, w = _without_transposition(problem, x, w)
    x = pad_input(problem, x)
    row = math.prod(problem.output_size[1:]) * problem.batch_size
    rows = max(1, _BAND_BYTES // (8 * problem.in_channels * math.prod(problem.kernel_size) * row))
    stride, reach = problem.stride[0], problem.dilation[0] * (problem.kernel_size[0] - 1) + 1
    conv, bands = CONV_BY_RANK[problem.rank], []
    for first in range(0, problem.output_size[0], rows):
        last = min(first + rows, problem.output_size[0]) - 1
        band = x.narrow(2, first * stride, (last - first) * stride + reach)
        bands.append(conv(band, w, None, problem.stride, 0, problem.dilation, problem.groups))
    return torch.cat(bands, 2)


def _without_transposition(
    problem: ConvProblem, x: Tensor, w: Tensor
) -> tuple[ConvProblem, Tensor, Tensor]:
    """Return the problem, input and weight of an equal convolution of stride 1."""
    sizes = zip(problem.input_size, problem.stride, strict=True)
    size = tuple((i - 1) * s + 1 for i, s in sizes)
    spread = x.new_zeros(*x.shape[:2], *size)
    problem.strided(spread).copy_(x)
    padding = tuple(span - 1 - p for span, p in zip(problem.span, problem.padding, strict=True))
    plain = replace(
        problem,
        input_size=size,
        stride=(1,) * problem.rank,
        padding=padding,
        padding_end=tuple(map(operator.add, padding, problem.output_padding)),
        transposed=False,
        output_padding=(0,) * problem.rank,
    )
    by_group = w.reshape(problem.groups, -1, *w.shape[1:]).transpose(1, 2).flatten(0, 1)
    return plain, spread, by_group.flip([*range(2, 2 + problem.rank)])


def pad_input(problem: ConvProblem, x: Tensor) -> Tensor:
    """Return an input with its padding."""
    return pad(x, [side for both in reversed(problem.margins) for side in both])
