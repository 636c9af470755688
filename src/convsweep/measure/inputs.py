"""Seeded input and weights of a problem, the same for every backend."""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import BatchNorm, Weights
from convsweep.backends.tensor_layout import CHANNELS_LAST
from convsweep.problems.case import FORWARD, Case
from convsweep.problems.problem import ConvProblem, Size

_CHUNK = 2**17  # elements that are composed at once


@dataclass(frozen=True)
class Inputs:
    """Input and weights of one problem."""

    x: Tensor  # (N, C_in, *input_size)
    weights: Weights
    grad: Tensor | None = None  # of the output: (N, C_out, *output_size); None: forward only


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype of a name such as "float32"."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def make_inputs(
    problem: ConvProblem, *, device: str = "cpu", memory_format: str = "contiguous", **drawn: Any
) -> Inputs:
    """Return input and weights that depend on the arguments only, also those of `draw_inputs`."""
    return place_inputs(draw_inputs(problem, **drawn), device, memory_format)


def draw_inputs(
    problem: ConvProblem,
    *,
    weight_kind: str = "dense",
    dtype: str = "float32",
    seed: int = 0,
    integers: bool = False,
    gradient: bool = False,
) -> Inputs:
    """Return contiguous input and weights on the CPU.

    Values are normal, so that hardly any is zero or denormal; weights are scaled so that outputs
    are about 1. With `integers` they are whole numbers from -2 to 2, so that every sum is exact. A
    separable weight is the product of two factors, which the result contains too. With `gradient`
    it also contains one of the output.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(problem.label.encode()) + seed)
    kind = torch_dtype(dtype)
    drawn = torch.promote_types(kind, torch.float32)  # it takes a sixth of the time of float64

    def draw(shape: Size, taps: int = 1) -> Tensor:
        if integers:
            return torch.randint(-2, 3, shape, generator=generator).to(kind)
        return torch.randn(shape, generator=generator, dtype=drawn).div_(math.sqrt(taps)).to(kind)

    x = draw(problem.input_shape)
    factors = None
    if weight_kind == "separable":
        kernels, ones = problem.kernel_size, (1,) * problem.rank
        depthwise = draw((problem.in_channels, 1, *kernels))
        pointwise = draw((problem.out_channels, problem.in_channels, *ones), problem.taps)
        dense = _composed(depthwise.double(), pointwise.double(), dtype)
        factors = (depthwise, pointwise)
    else:
        dense = draw(problem.weight_shape, problem.taps)
    bias = draw((problem.out_channels,)) if problem.bias else None
    grad = draw(problem.output_shape) if gradient else None
    return Inputs(x, Weights(dense, bias, factors), grad)


def draw_case(case: Case, integers: bool = False) -> Inputs:
    """Return contiguous input and weights of a case, and a gradient if its direction has one."""
    return draw_inputs(
        case.problem,
        weight_kind=case.weight_kind,
        dtype=case.dtype,
        integers=integers,
        gradient=case.direction != FORWARD,
    )


def place_inputs(drawn: Inputs, device: str = "cpu", memory_format: str = "contiguous") -> Inputs:
    """Return copies of the tensors in new memory, as a backend receives them."""

    def place(tensor: Tensor) -> Tensor:
        placed = tensor.to(device, copy=True)
        if memory_format == "channels_last" and placed.dim() > 1:
            placed = placed.contiguous(memory_format=CHANNELS_LAST[placed.dim()])
        return placed

    weights = drawn.weights
    bias = None if weights.bias is None else place(weights.bias)
    factors = weights.factors and (place(weights.factors[0]), place(weights.factors[1]))
    grad = None if drawn.grad is None else place(drawn.grad)
    norm = weights.norm and BatchNorm(*map(place, weights.norm))
    norms = tuple(BatchNorm(*map(place, each)) for each in weights.factor_norms)
    return Inputs(place(drawn.x), Weights(place(weights.dense), bias, factors, norm, norms), grad)


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
