"""Seeded input and weights of a problem, the same for every backend."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from convsweep.backends.base import Weights
from convsweep.problems.problem import ConvProblem, Size

_CHUNK = 2**17  # elements that are composed at once
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class Inputs:
    """Input and weights of one problem."""

    x: Tensor  # (N, C_in, *input_size)
    weights: Weights


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype of a name such as "float32"."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def make_inputs(
    problem: ConvProblem,
    *,
    weight_kind: str = "dense",
    dtype: str = "float32",
    device: str = "cpu",
    memory_format: str = "contiguous",
    seed: int = 0,
    integers: bool = False,
) -> Inputs:
    """Return input and weights that depend on the arguments only, on any machine.

    Values are normal, so that none is zero or denormal; weights are scaled so that outputs are
    about 1. With `integers` they are whole numbers from -2 to 2, so that every sum is exact. A
    separable weight is the product of two factors, which the result contains too.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(problem.label.encode()) + seed)

    def draw(shape: Size, taps: int = 1) -> Tensor:
        if integers:
            return torch.randint(-2, 3, shape, generator=generator).double()
        return torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(taps)

    def place(tensor: Tensor) -> Tensor:
        placed = tensor.to(torch_dtype(dtype)).to(device)
        if memory_format == "channels_last" and placed.dim() > 1:
            placed = placed.contiguous(memory_format=_CHANNELS_LAST[placed.dim()])
        return placed

    x = place(draw(problem.input_shape))
    factors = None
    if weight_kind == "separable":
        kernels, ones = problem.kernel_size, (1,) * problem.rank
        depthwise = _rounded(draw((problem.in_channels, 1, *kernels)), dtype)
        pointwise = _rounded(
            draw((problem.out_channels, problem.in_channels, *ones), problem.taps), dtype
        )
        dense = _composed(depthwise, pointwise, dtype)
        factors = (place(depthwise), place(pointwise))
    else:
        dense = draw(problem.weight_shape, problem.taps)
    bias = draw((problem.out_channels,)) if problem.bias else None
    return Inputs(x, Weights(place(dense), None if bias is None else place(bias), factors))


def _composed(depthwise: Tensor, pointwise: Tensor, dtype: str) -> Tensor:
    """Return the dense weight (C_out, C_in, *kernel_size), rounded to `dtype`.

    It is composed a few channels at a time; in float64 it would be the largest tensor of all.
    """
    shape = (pointwise.shape[0], *depthwise.transpose(0, 1).shape[1:])
    dense = torch.empty(shape, dtype=torch_dtype(dtype))
    channels = max(1, _CHUNK // math.prod(shape[1:]))
    chunks = zip(torch.split(dense, channels), torch.split(pointwise, channels), strict=True)
    for chunk, factor in chunks:
        chunk.copy_(factor * depthwise.transpose(0, 1))
    return dense


def _rounded(tensor: Tensor, dtype: str) -> Tensor:
    """Round the values to `dtype`; return them in float64."""
    return tensor.to(torch_dtype(dtype)).double()
