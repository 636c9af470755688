"""Float64 reference of a problem, and the errors that it allows."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from convsweep.backends.base import Backend, direct_bound
from convsweep.measure.banded_convolution import convolve
from convsweep.measure.inputs import Inputs, torch_dtype
from convsweep.measure.outcome import Outcome
from convsweep.measure.signal_to_noise import MIN_SQNR_DB, decibels, is_noise
from convsweep.problems.problem import ConvProblem, Size

_CHUNK = 2**15  # elements that are compared at once, so that they stay in a cache


@dataclass(frozen=True)
class Reference:
    """Expected output, computed in float64 on the CPU from the same rounded inputs."""

    y: Tensor  # (N, C_out, *output_size)
    negated: Tensor | None  # output for -x; None without a bias, since it then is -y
    scale: float  # max(conv(|x|, |w|) + |bias|), the unit of rounding errors
    factor: float = -1.0  # of the output for changed inputs; with `negated` unused
    eps: float = 0.0  # of the unit of errors; 0 for that of the output's dtype

    @property
    def shape(self) -> Size:
        """Shape of the output."""
        return tuple(self.y.shape)

    @cached_property
    def largest(self) -> float:
        """max|y|, the unit of relative errors."""
        low, high = self.y.aminmax()
        return max(-float(low), float(high))

    @cached_property
    def size(self) -> float:
        """max(|conv(x, w)| + |bias|), the largest number that is rounded in the end."""
        return max(self.largest, 0.0 if self.negated is None else float(self.negated.abs().max()))

    def undone(self, y: Tensor) -> Tensor | None:
        """Return an output for changed inputs, divided by a power of two; None with a bias."""
        return y / self.factor if self.negated is None else None

    def compare(self, y: Tensor, bound: float, negated: bool) -> Outcome:
        """Compare all values of an output for x, or for -x, in chunks."""
        scaled = negated and self.negated is None
        expected = self.negated if negated and self.negated is not None else self.y
        error = signal = noise = 0.0
        chunks = (torch.split(tensor.reshape(-1), _CHUNK) for tensor in (y, expected))
        for chunk, expected_chunk in zip(*chunks, strict=True):
            values = chunk.double()
            values = values.div_(self.factor) if scaled else values
            off = values.sub(expected_chunk).abs_()
            if not math.isfinite(largest := float(off.max())):
                return Outcome("mismatch", "returns values that are not finite")
            error = max(error, largest)
            signal += float(expected_chunk.dot(expected_chunk))
            noise += float(off.dot(off))
        unit = (self.eps or torch.finfo(y.dtype).eps) * self.scale
        ratio = error / unit if unit else float(error > 0) * float("inf")
        relative = error / self.largest if self.largest else None
        sqnr_db = decibels(signal, noise)
        result = Outcome("ok", None, error, ratio, relative_err=relative, sqnr_db=sqnr_db)
        if ratio > bound:
            reason = f"error ratio {ratio:.3g} is over its bound of {bound:.3g}"
            return replace(result, status="mismatch", reason=reason)
        if is_noise(result, bound):
            reason = f"signal-to-noise ratio {result.sqnr_db:.3g} dB is below {MIN_SQNR_DB:g} dB"
            return replace(result, status="mismatch", reason=reason)
        return result


class Expected(Protocol):
    """Expected outputs: a `Reference`, or what a fast check needs."""

    @property
    def scale(self) -> float:
        """max(conv(|x|, |w|) + |bias|)."""

    @property
    def size(self) -> float:
        """max(|conv(x, w)| + |bias|)."""

    @property
    def shape(self) -> Size:
        """Shape of the output."""

    def undone(self, y: Tensor) -> Tensor | None:
        """Return what an output for -x means for x, without rounding; None if that is unknown."""

    def compare(self, y: Tensor, bound: float, negated: bool) -> Outcome:
        """Compare an output for x, or for -x: `ok` or `mismatch`."""


def allowed_error(
    backend: Backend,
    bound: float,
    dtype: torch.dtype,
    expected: Expected,
    terms: int,
    *,
    once: bool = True,
) -> float:
    """Return the largest error of an output, in units of eps * expected.scale.

    The eps is that of the dtype that the backend computes in.

    It is `bound` in float32 and float64. In 16-bit dtypes it is `bound` for sums in float32, plus
    roundings of results: half an eps of the output, and another half of the sum before a bias. If
    parts of a sum are rounded before they are added, it is the bound of a direct sum in the dtype;
    `bound` itself for backends that round intermediate results. A cast of the input and the weight
    counts for 1 more. These eps are relative to the largest output; if all outputs cancel, to what
    n terms of one size and random sign add up to: scale / sqrt(n).

    Args:
        backend: what computes the output.
        bound: largest error of its sums if nothing else is rounded.
        dtype: dtype of the output.
        expected: what it should be.
        terms: products that each number of it is the sum of.
        once: whether nothing adds parts, as gradients, transposed convolutions and blocks do.
    """
    inside = torch_dtype(backend.computes_in) if backend.computes_in else dtype
    eps, wide = torch.finfo(inside).eps, torch.finfo(torch.float32).eps
    if eps <= wide or not expected.scale:
        return bound
    in_parts = 1 if once else direct_bound(terms)
    roundings = (in_parts if backend.float32_sums else bound) + bool(backend.computes_in)
    size = max(expected.size, expected.scale / math.sqrt(terms))
    allowed = bound * wide * expected.scale + roundings * eps * size
    return allowed / (eps * expected.scale)


def compute_reference(problem: ConvProblem, inputs: Inputs) -> Reference:
    """Compute the convolution of `inputs` in float64, and the scale of its rounding errors.

    The scale is a sum of positive terms, so float32 computes it to 1e-4 and in a third of the time.
    """
    x, w = inputs.x.cpu(), inputs.weights.dense.cpu()
    bias = None if inputs.weights.bias is None else inputs.weights.bias.cpu().double()
    precise = torch.float64 if x.dtype is torch.float64 else torch.float32

    y = convolve(problem, x.double(), w.double())
    size = convolve(problem, x.to(precise).abs(), w.to(precise).abs())
    if bias is None:
        return Reference(y, None, float(size.max()))
    bias = bias.view(-1, *[1] * problem.rank)
    return Reference(y + bias, bias - y, float((size + bias.abs()).max()))
