"""Fast check of outputs: signed sums of all channels, and some pixels in full."""

import itertools
import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from convsweep.analysis.sample_flags import PROJECTED
from convsweep.measure.banded_convolution import pad_input
from convsweep.measure.inputs import Inputs
from convsweep.measure.outcome import Outcome
from convsweep.measure.reference import Reference, compute_reference
from convsweep.measure.signal_to_noise import decibels, is_noise
from convsweep.problems.problem import ConvProblem, Size

_VECTORS = 10  # for each block of channels
_BLOCK = 64  # in the sum of more channels, the rounding errors of right outputs exceed the bound
_RANDOM, _SCALED = 16, 4  # 1 in 16 pixels is drawn; 1 in 4 of all in full gives the scale
_MIN_SIZE, _MIN_TAPS = 20, 288  # smaller layers have too many borders, or cheap full references
_PATCHES = 2**22  # elements of the input's patches that are in memory at once


@dataclass(frozen=True)
class Projection:
    """Expected sums of an output over its channels, with random signs, in float64.

    Let one channel of a pixel be wrong by more than the bound. Whatever the other channels' errors,
    one of its two signs gives a sum that is wrong by more, too. So a random vector misses the error
    with a probability of at most 1/2, and all ten miss it in at most 1 of 1,024 cases. Each vector
    has signs for a block of 64 channels and zeros for the others.

    All channels of the borders and of random pixels are checked in full. `scale` is the maximum of
    some of them, at most that of all outputs, so the full check allows no smaller error. An output
    that is rejected gets the full check, so no right output is a `mismatch`.
    """

    problem: ConvProblem
    inputs: Inputs
    signs: Tensor  # (vectors, C_out)
    sums: Tensor  # (N, vectors, pixels), without bias
    pixels: Tensor  # flat indices of those in full
    expected: Tensor  # (N, C_out, len(pixels)), without bias
    bias: Tensor  # (C_out, 1)
    scale: float
    eps: float = 0.0  # as of `Reference`

    @property
    def shape(self) -> Size:
        """Shape of the output."""
        return self.problem.output_shape

    @cached_property
    def size(self) -> float:
        """max(|conv(x, w)| + |bias|) of the pixels in full."""
        return float((self.expected.abs() + self.bias.abs()).max())

    @cached_property
    def full(self) -> Reference:
        """The full reference, for outputs that the fast check rejects."""
        return replace(compute_reference(self.problem, self.inputs), eps=self.eps)

    def undone(self, y: Tensor) -> Tensor | None:
        """Return the negative of an output for -x; None with a bias."""
        return None if self.bias.any() else -y

    def compare(self, y: Tensor, bound: float, negated: bool) -> Outcome:
        """Compare an output for x, or for -x; the errors are those of the pixels in full."""
        values, sign = y.view(*self.problem.output_shape[:2], -1), -1.0 if negated else 1.0
        off = self.signs @ values.double() - (sign * self.sums + self.signs @ self.bias)
        right = sign * self.expected + self.bias
        errors = (values[..., self.pixels] - right).abs_()
        error, sqnr_db = float(errors.max()), decibels(_squares(right), _squares(errors))
        unit = (self.eps or torch.finfo(y.dtype).eps) * self.scale
        largest = float(right.abs_().max())
        is_right = float(off.abs_().max()) <= bound * unit and error <= bound * unit  # and finite
        if not (is_right and largest):
            return self.full.compare(y, bound, negated)
        found = Outcome("ok", None, error, error / unit, sqnr_db=sqnr_db)
        if is_noise(found, bound):
            return self.full.compare(y, bound, negated)
        return replace(found, relative_err=error / largest, sample_flags=PROJECTED)


def _squares(values: Tensor) -> float:
    return float(values.square().sum())


def is_cheap(problem: ConvProblem, dtype: str) -> bool:
    """Return whether a projection saves much: for large dense layers of stride 1.

    In float64 the errors of the backend are those of the sums. In 16-bit dtypes the errors of sums
    of channels are above the bound of one. So only float32 is projected.
    """
    is_plain = problem.groups == 1 and {*problem.stride, *problem.dilation} == {1}
    is_plain = is_plain and not problem.transposed
    is_large = min(problem.output_size) >= _MIN_SIZE and problem.taps >= _MIN_TAPS
    return is_plain and is_large and problem.out_channels >= _BLOCK and dtype == "float32"


def project(problem: ConvProblem, inputs: Inputs) -> Projection:
    """Compute the sums and pixels of a layer of stride 1, without groups and dilation."""
    generator = torch.Generator().manual_seed(zlib.crc32(problem.label.encode()))
    channels, bias = torch.arange(problem.out_channels), inputs.weights.bias
    vectors = torch.arange(_VECTORS * (1 + int(channels[-1]) // _BLOCK)).unsqueeze(1)
    signs = torch.randint(0, 2, (len(vectors), len(channels)), generator=generator) * 2.0 - 1
    signs = torch.where(vectors // _VECTORS == channels // _BLOCK, signs, 0).double()
    drawn = torch.randint(0, _RANDOM, problem.output_size, generator=generator) == 0
    for dimension, size in enumerate(problem.output_size):
        drawn.index_fill_(dimension, torch.tensor([0, size - 1]), True)
    pixels = drawn.flatten().nonzero().flatten()
    offset = (torch.zeros(len(channels)) if bias is None else bias.cpu()).double().unsqueeze(1)

    x, w = pad_input(problem, inputs.x.cpu()), inputs.weights.dense.cpu()
    sizes = _outputs_at(problem, x.float().abs(), w.float().abs(), pixels[::_SCALED])
    scale = float((sizes + offset.abs()).max())
    x, w = x.double(), w.double()
    sums = _convolve(problem, x, (signs @ w.flatten(1)).view(-1, *w.shape[1:]))
    expected = _outputs_at(problem, x, w, pixels)
    return Projection(problem, inputs, signs, sums, pixels, expected, offset, scale)


def _outputs_at(problem: ConvProblem, x: Tensor, w: Tensor, pixels: Tensor) -> Tensor:
    """Return all channels (N, C_out, len(pixels)) of some pixels; `x` is padded."""
    places, every = torch.arange(x.numel()).view(x.shape), slice(None)
    starts = places[(every, slice(1), *map(slice, problem.output_size))].flatten(1)[:, pixels]
    taps = places[(slice(1), every, *map(slice, problem.kernel_size))].flatten()
    parts = torch.split(starts, max(1, _PATCHES // (len(x) * len(taps))), 1)
    return torch.cat([w.flatten(1) @ x.take(part.unsqueeze(2) + taps).mT for part in parts], 2)


def _convolve(problem: ConvProblem, x: Tensor, w: Tensor) -> Tensor:
    """Convolve channels first, then taps: with few kernels, that is faster than unfolding `x`."""
    rows, *others = problem.output_size
    y = x.new_zeros(len(x), len(w), *problem.output_size)
    for first in range(problem.kernel_size[0]):
        by_tap = w[:, :, first].reshape(*w.shape[:2], -1).movedim(2, 0).flatten(0, 1)
        products = by_tap @ x.narrow(2, first, rows).flatten(2)
        products = products.view(len(x), -1, len(w), rows, *x.shape[3:])
        for index, tap in enumerate(itertools.product(*map(range, problem.kernel_size[1:]))):
            window = (slice(at, at + size) for at, size in zip(tap, others, strict=True))
            y += products[:, index][(slice(None),) * 3 + tuple(window)]
    return y.flatten(2)
