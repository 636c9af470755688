"""The float64 truth, and the gate that every case passes before it is timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d, pad

from convsweep.backends.base import Conv
from convsweep.measure.inputs import Inputs
from convsweep.problems.problem import ConvProblem

_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}
_BAND_BYTES = 2**28
_PART = 2**15  # elements that are compared at once


@dataclass(frozen=True)
class Reference:
    """What the right answer is, computed in float64 on the CPU from the same rounded inputs."""

    y: Tensor  # (N, C_out, *output_size)
    negated: Tensor | None  # the answer to -x where a bias makes it another one than -y
    scale: float  # max(conv(|x|, |w|) + |bias|), what rounding errors are measured in

    @property
    def largest(self) -> float:
        """max|y|: errors relative to the answer are told in it."""
        low, high = self.y.aminmax()
        return max(-float(low), float(high))


@dataclass(frozen=True)
class PackedReference:
    """A truth as it travels between processes, to be used in the passes to come."""

    y: NDArray[np.float64]
    negated: NDArray[np.float64] | None
    scale: float

    @classmethod
    def pack(cls, truth: Reference) -> PackedReference:
        """The truth in arrays, which processes hand to each other."""
        negated = None if truth.negated is None else truth.negated.numpy()
        return cls(truth.y.numpy(), negated, truth.scale)

    def unpack(self) -> Reference:
        """The truth again."""
        negated = None if self.negated is None else torch.from_numpy(self.negated)
        return Reference(torch.from_numpy(self.y), negated, self.scale)

    @property
    def nbytes(self) -> int:
        """What keeping it takes."""
        return self.y.nbytes + (0 if self.negated is None else self.negated.nbytes)


@dataclass(frozen=True)
class GateResult:
    """What the gate saw; `reason` is None where the backend passed."""

    max_abs_err: float | None = None
    error_ratio: float | None = None
    reason: str | None = None
    relative_err: float | None = None
    """max|y - true y| / max|true y|."""


def compute_reference(problem: ConvProblem, inputs: Inputs) -> Reference:
    """The convolution of `inputs` in float64, and the scale of its rounding errors."""
    x, w = inputs.x.cpu().double(), inputs.weights.dense.cpu().double()
    bias = None if inputs.weights.bias is None else inputs.weights.bias.cpu().double()

    y, size = _convolve(problem, x, w), _convolve(problem, x.abs(), w.abs())
    if bias is None:
        return Reference(y, None, float(size.max()))
    bias = bias.view(-1, *[1] * problem.rank)
    return Reference(y + bias, bias - y, float((size + bias.abs()).max()))


def _convolve(problem: ConvProblem, x: Tensor, w: Tensor) -> Tensor:
    """The definition in float64, in bands of output rows: torch unfolds all that it is given."""
    x = pad(x, [p for side in reversed(problem.padding) for p in (side, side)])
    row = math.prod(problem.output_size[1:]) * problem.batch_size
    rows = max(1, _BAND_BYTES // (8 * problem.in_channels * math.prod(problem.kernel_size) * row))
    stride, reach = problem.stride[0], problem.dilation[0] * (problem.kernel_size[0] - 1) + 1
    bands = []
    for first in range(0, problem.output_size[0], rows):
        last = min(first + rows, problem.output_size[0]) - 1
        band = x.narrow(2, first * stride, (last - first) * stride + reach)
        bands.append(
            _BY_RANK[problem.rank](
                band, w, None, problem.stride, 0, problem.dilation, problem.groups
            )
        )
    return torch.cat(bands, 2)


def recheck(
    call: Callable[[], Tensor], inputs: Inputs, truth: Reference, bound: float, times: int
) -> str | None:
    """What is wrong with a backend's answer to `-x` once it has been timed, or None.

    Where it is called some `times`, answers are kept, so that old memory in new turns is seen.
    """
    inputs.x.data.neg_()
    try:
        answers = [call() for _ in range(times)]
    finally:
        inputs.x.data.neg_()
    if len({answer.untyped_storage().data_ptr() for answer in answers}) < times:
        return "after timing: returns the same memory from two calls"
    reason = _compare(answers[-1], truth, bound, negated=True).reason
    return reason and f"after timing: {reason}"


def check(
    conv: Conv, problem: ConvProblem, inputs: Inputs, truth: Reference, bound: float
) -> GateResult:
    """Hold a prepared backend to the truth on the very tensors that are timed; three calls.

    Two calls on `x`, the first answer ruined in between, and one on `-x` in the same memory: an
    answer that was kept instead of computed can't be right in all three.

    Args:
        conv: what the backend's `prepare` returned.
        problem: its shape.
        inputs: the tensors to be timed.
        truth: `reference(problem, inputs)`.
        bound: the largest error allowed, in units of eps * truth.scale.
    """
    given = _given(inputs)
    before = [tensor.clone() for tensor in given]
    try:
        finding = _hold(conv, problem, inputs, truth, bound)
        if finding.reason is None and not all(map(torch.equal, given, before)):
            return GateResult(reason="changes its input or its weights")
        return finding
    finally:
        for tensor, value in zip(given, before, strict=True):
            tensor.copy_(value)


def _hold(
    conv: Conv, problem: ConvProblem, inputs: Inputs, truth: Reference, bound: float
) -> GateResult:
    original = inputs.x.clone()
    first = conv(inputs.x)
    if reason := _form(first, problem, inputs):
        return GateResult(reason=reason)
    if not torch.equal(inputs.x, original):
        return GateResult(reason="changes its input")
    finding = _relative(_compare(first, truth, bound), truth)
    if finding.reason:
        return finding
    first.fill_(torch.nan)
    second = conv(inputs.x)
    inputs.x.data.neg_()  # through .data: no version counter tells that x has changed
    third = conv(inputs.x)
    inputs.x.data.neg_()
    if len({tensor.untyped_storage().data_ptr() for tensor in (first, second, third)}) < 3:
        return GateResult(reason="returns the same memory from two calls")
    return replace(finding, reason=_repeats(second, third, truth, bound))


def _given(inputs: Inputs) -> list[Tensor]:
    """Every tensor that the backend was given."""
    weights = inputs.weights
    optional = (inputs.x, weights.dense, weights.bias, *(weights.factors or ()))
    return [tensor for tensor in optional if tensor is not None]


def _form(y: Tensor, problem: ConvProblem, inputs: Inputs) -> str | None:
    """What is wrong with the answer before its values are looked at."""
    x = inputs.x
    if not isinstance(y, Tensor):
        return f"returns a {type(y).__name__}, not a tensor"
    if tuple(y.shape) != problem.output_shape:
        return f"returns shape {tuple(y.shape)}, not {problem.output_shape}"
    if y.dtype != x.dtype:
        return f"returns {y.dtype}, not {x.dtype}"
    if y.device != x.device:
        return f"returns a tensor on {y.device}, not on {x.device}"
    if y.untyped_storage().data_ptr() in {t.untyped_storage().data_ptr() for t in _given(inputs)}:
        return "returns the memory of its input or weights"
    return None


def _compare(y: Tensor, truth: Reference, bound: float, *, negated: bool = False) -> GateResult:
    """How far an answer to x, or to -x, is off; part by part, each small enough for a cache."""
    flip = negated and truth.negated is None
    expected = truth.negated if negated and truth.negated is not None else truth.y
    error = 0.0
    parts = (torch.split(tensor.reshape(-1), _PART) for tensor in (y.cpu(), expected))
    for part, true in zip(*parts, strict=True):
        values = part.double()
        off = float((values.neg() if flip else values).sub(true).abs_().max())
        if not math.isfinite(off):
            return GateResult(reason="returns values that are not finite")
        error = max(error, off)
    unit = torch.finfo(y.dtype).eps * truth.scale
    ratio = error / unit if unit else float(error > 0) * float("inf")
    if ratio > bound:
        return GateResult(error, ratio, f"error ratio {ratio:.3g} is over its bound of {bound:.3g}")
    return GateResult(error, ratio)


def _relative(finding: GateResult, truth: Reference) -> GateResult:
    """The finding with its error relative to the answer, where there is one above zero."""
    if finding.max_abs_err is None or not (largest := truth.largest):
        return finding
    return replace(finding, relative_err=finding.max_abs_err / largest)


def _repeats(second: Tensor, third: Tensor, truth: Reference, bound: float) -> str | None:
    if reason := _compare(second, truth, bound).reason:
        return f"second call: {reason}"
    if reason := _compare(third, truth, bound, negated=True).reason:
        return f"another input in the same memory: {reason}"
    return None
