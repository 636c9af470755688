"""Float64 reference of a problem, and the correctness gate against it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.backends.base import Backend, Conv
from convsweep.backends.tensor_layout import CONV_BY_RANK
from convsweep.measure.inputs import Inputs, torch_dtype
from convsweep.measure.messages import Accepted
from convsweep.measure.outcome import Outcome
from convsweep.problems.problem import ConvProblem

_BAND_BYTES = 2**28
_CHUNK = 2**15  # elements that are compared at once, so that they stay in a cache


@dataclass(frozen=True)
class Reference:
    """Expected output, computed in float64 on the CPU from the same rounded inputs."""

    y: Tensor  # (N, C_out, *output_size)
    negated: Tensor | None  # output for -x; None without a bias, since it then is -y
    scale: float  # max(conv(|x|, |w|) + |bias|), the unit of rounding errors

    @cached_property
    def largest(self) -> float:
        """max|y|, the unit of relative errors."""
        low, high = self.y.aminmax()
        return max(-float(low), float(high))

    @cached_property
    def size(self) -> float:
        """max(|conv(x, w)| + |bias|), the largest number that is rounded in the end."""
        return max(self.largest, 0.0 if self.negated is None else float(self.negated.abs().max()))

    def compare(self, y: Tensor, bound: float, negated: bool) -> Outcome:
        """Compare all values of an output for x, or for -x, in chunks."""
        flip = negated and self.negated is None
        expected = self.negated if negated and self.negated is not None else self.y
        error = 0.0
        chunks = (torch.split(tensor.reshape(-1), _CHUNK) for tensor in (y, expected))
        for chunk, expected_chunk in zip(*chunks, strict=True):
            values = chunk.double()
            off = float((values.neg() if flip else values).sub(expected_chunk).abs_().max())
            if not math.isfinite(off):
                return Outcome("mismatch", "returns values that are not finite")
            error = max(error, off)
        unit = torch.finfo(y.dtype).eps * self.scale
        ratio = error / unit if unit else float(error > 0) * float("inf")
        result = Outcome("ok", None, error, ratio)
        if self.largest:
            result = replace(result, relative_err=error / self.largest)
        if ratio > bound:
            reason = f"error ratio {ratio:.3g} is over its bound of {bound:.3g}"
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

    def compare(self, y: Tensor, bound: float, negated: bool) -> Outcome:
        """Compare an output for x, or for -x: `ok` or `mismatch`."""


def allowed_error(
    backend: Backend, bound: float, dtype: torch.dtype, expected: Expected, terms: int
) -> float:
    """Return the largest error of an output, in units of its eps * expected.scale.

    It is `bound` in float32 and float64. In 16-bit dtypes it is `bound` for sums in float32, plus
    roundings of results: half an eps of the output, and another half of the sum before a bias. A
    backend that also rounds intermediate results gets `bound` eps for them, one that casts its
    input and weight gets 2 more. These eps are relative to the largest output; if all outputs
    cancel, to what n terms of one size and random sign add up to: scale / sqrt(n).

    Args:
        backend: what computes the output.
        bound: largest error of the same sums if nothing else is rounded.
        dtype: dtype of the output.
        expected: what it should be.
        terms: products that each number of it is the sum of.
    """
    inside = torch_dtype(backend.computes_in) if backend.computes_in else dtype
    eps, wide = torch.finfo(inside).eps, torch.finfo(torch.float32).eps
    if eps <= wide or not expected.scale:
        return bound
    roundings = (1 if backend.float32_sums else bound) + 2 * bool(backend.computes_in)
    size = max(expected.size, expected.scale / math.sqrt(terms))
    allowed = bound * wide * expected.scale + roundings * eps * size
    return allowed / (torch.finfo(dtype).eps * expected.scale)


def compute_reference(problem: ConvProblem, inputs: Inputs) -> Reference:
    """Compute the convolution of `inputs` in float64, and the scale of its rounding errors.

    The scale is a sum of positive terms, so float32 computes it to 1e-4 and in a third of the time.
    """
    x, w = inputs.x.cpu(), inputs.weights.dense.cpu()
    bias = None if inputs.weights.bias is None else inputs.weights.bias.cpu().double()
    precise = torch.float64 if x.dtype is torch.float64 else torch.float32

    y = _convolve(problem, x.double(), w.double())
    size = _convolve(problem, x.to(precise).abs(), w.to(precise).abs())
    if bias is None:
        return Reference(y, None, float(size.max()))
    bias = bias.view(-1, *[1] * problem.rank)
    return Reference(y + bias, bias - y, float((size + bias.abs()).max()))


def _convolve(problem: ConvProblem, x: Tensor, w: Tensor) -> Tensor:
    """Convolve in bands of output rows: in float64, torch unfolds its whole input at once."""
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


def pad_input(problem: ConvProblem, x: Tensor) -> Tensor:
    """Return an input with its padding."""
    return pad(x, [p for side in reversed(problem.padding) for p in (side, side)])


def check(
    conv: Conv,
    problem: ConvProblem,
    inputs: Inputs,
    reference: Expected,
    bound: float,
    *,
    original: Inputs | None = None,
    accepted: Accepted | None = None,
) -> Outcome:
    """Check a prepared backend on the tensors that are timed, in three calls: `ok` or `mismatch`.

    Two calls on `x`, with the first output overwritten in between, and one on `-x` in the same
    memory: a cached output is wrong in at least one of them.

    Args:
        conv: function returned by the backend's `prepare`.
        problem: its shape.
        inputs: the tensors to be timed; unchanged afterwards.
        reference: `compute_reference(problem, inputs)`.
        bound: largest allowed error, in units of eps * reference.scale.
        original: the same values as `inputs`, in other memory; None: they are copied.
        accepted: earlier comparisons, to which new ones are added.
    """
    tensors = _tensors(inputs)
    before = _tensors(original) if original else [tensor.clone() for tensor in tensors]
    accepted = {} if accepted is None else accepted
    changed = []
    try:
        result = _check_calls(conv, problem, inputs, before[0], reference, bound, accepted)
    finally:
        for tensor, value in zip(tensors, before, strict=True):
            if not _equal(tensor, value):
                changed.append(tensor.copy_(value))
    if changed and result.reason is None:
        return Outcome("mismatch", "changes its input or its weights")
    return result


def recheck(
    call: Callable[[], Tensor],
    inputs: Inputs,
    reference: Expected,
    bound: float,
    times: int,
    accepted: Accepted,
) -> str | None:
    """Check a backend's output for `-x` after timing; return what is wrong, or None.

    The outputs of all `times` calls are kept, so that memory that is reused in turns is found.
    """
    inputs.x.data.neg_()
    try:
        outputs = [call() for _ in range(times)]
    finally:
        inputs.x.data.neg_()
    if _share_memory(outputs):
        return "after timing: returns the same memory from two calls"
    reason = _compare(outputs[-1], reference, bound, accepted, negated=True).reason
    return reason and f"after timing: {reason}"


def _check_calls(
    conv: Conv,
    problem: ConvProblem,
    inputs: Inputs,
    original: Tensor,
    reference: Expected,
    bound: float,
    accepted: Accepted,
) -> Outcome:
    first = conv(inputs.x)
    if reason := _check_tensor(first, problem, inputs):
        return Outcome("mismatch", reason)
    if not _equal(inputs.x, original):
        return Outcome("mismatch", "changes its input")
    result = _compare(first, reference, bound, accepted)
    if result.reason:
        return result
    first.fill_(torch.nan)
    second = conv(inputs.x)
    inputs.x.data.neg_()  # through .data: the tensor's version counter stays the same
    third = conv(inputs.x)
    inputs.x.data.neg_()
    if _share_memory([first, second, third]):
        return Outcome("mismatch", "returns the same memory from two calls")
    if reason := _compare(second, reference, bound, accepted).reason:
        return replace(result, status="mismatch", reason=f"second call: {reason}")
    if reason := _compare(third, reference, bound, accepted, negated=True).reason:
        reason = f"another input in the same memory: {reason}"
        return replace(result, status="mismatch", reason=reason)
    return result


def _tensors(inputs: Inputs) -> list[Tensor]:
    """Return all tensors that the backend receives."""
    weights = inputs.weights
    optional = (inputs.x, weights.dense, weights.bias, *(weights.factors or ()))
    return [tensor for tensor in optional if tensor is not None]


def _equal(tensor: Tensor, value: Tensor) -> bool:
    return torch.equal(tensor, value.to(tensor.device))


def _share_memory(tensors: list[Tensor]) -> bool:
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors}) < len(tensors)


def _check_tensor(y: Tensor, problem: ConvProblem, inputs: Inputs) -> str | None:
    """Return what is wrong with the output apart from its values, or None."""
    x = inputs.x
    if not isinstance(y, Tensor):
        return f"returns a {type(y).__name__}, not a tensor"
    if tuple(y.shape) != problem.output_shape:
        return f"returns shape {tuple(y.shape)}, not {problem.output_shape}"
    if y.dtype != x.dtype:
        return f"returns {y.dtype}, not {x.dtype}"
    if y.device != x.device:
        return f"returns a tensor on {y.device}, not on {x.device}"
    if any(_share_memory([y, tensor]) for tensor in _tensors(inputs)):
        return "returns the memory of its input or weights"
    return None


def _compare(
    y: Tensor, reference: Expected, bound: float, accepted: Accepted, *, negated: bool = False
) -> Outcome:
    """Compare an output for x, or for -x, with the reference, unless the same bits have passed."""
    values = y.detach().cpu().contiguous().as_strided((y.numel(),), (1,))
    key = f"{negated} {hashlib.sha256(values.view(torch.uint8).numpy().data).hexdigest()}"
    if key not in accepted:
        result = reference.compare(values, bound, negated)
        if result.reason:
            return result
        accepted[key] = result
    return accepted[key]
