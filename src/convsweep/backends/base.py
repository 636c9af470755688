"""The whole contract of a convolution strategy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from convsweep.problems.problem import ConvProblem

BASIC = "basic"
FAMILIES = (BASIC, "algorithms", "kernels", "engines")
"""Strategies in PyTorch's operations, own kernels, other libraries."""

Conv = Callable[[Tensor], Tensor]
"""(N, C_in, *input_size) -> (N, C_out, *output_size), a fresh tensor, its input left as it was."""


@dataclass(frozen=True)
class Weights:
    """What a layer has learnt, on the device and in the dtype that it runs in."""

    dense: Tensor  # (C_out, C_in / groups, *kernel_size)
    bias: Tensor | None = None  # (C_out,)
    factors: tuple[Tensor, Tensor] | None = None
    # depthwise (C_in, 1, *kernel_size) and pointwise (C_out, C_in, 1, ...), where
    # dense[o, c] = pointwise[o, c] * depthwise[c]


def supports_all(problem: ConvProblem) -> str | None:
    """Nothing stands in the way of any problem."""
    return None


def direct_macs(problem: ConvProblem) -> int:
    """The definition's multiply-accumulates."""
    return problem.macs


def direct_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Input, weight and output once."""
    return problem.min_bytes(itemsize)


def direct_sum_bound(problem: ConvProblem) -> float:
    """How far a direct sum may be off, in units of eps * max(conv(|x|, |w|)).

    The error of summing n products of zero-mean values grows hardly at all with n (Higham & Mary
    2020, Sharper probabilistic backward error analysis): measured ratios stay near 1, and the
    bound leaves a margin that half precision, a lost corner or a lost bias never fits in.
    """
    return 4 + math.log2(problem.taps) / 2


def factored_sum_bound(problem: ConvProblem) -> float:
    """That of two sums, and of a product of factors that the dense weight rounds."""
    return direct_sum_bound(problem) + 2


def library_bound(problem: ConvProblem) -> float:
    """Room for a library that may pick Winograd: F(4x4, 3x3) costs it a digit and a half."""
    return 64.0


@dataclass(frozen=True)
class Backend:
    """One strategy to compute a convolution; `name` and `prepare` are enough to make one.

    `prepare(problem, weights)` never sees the input: what depends on the weights alone is done
    there, outside the clock. The function that it returns does all that touches the input.
    """

    name: str
    prepare: Callable[[ConvProblem, Weights], Conv]
    unsupported: Callable[[ConvProblem], str | None] = supports_all
    """Why it can't compute the problem, or None."""
    macs: Callable[[ConvProblem], int] = direct_macs
    """What it really multiplies."""
    min_bytes: Callable[[ConvProblem, int], int] = direct_bytes
    """The least that it has to move, in bytes, at so many bytes an element."""
    error_bound: Callable[[ConvProblem], float] = direct_sum_bound
    """The largest error it may make, in units of eps * max(conv(|x|, |w|))."""
    source: str = ""
    """The paper, book or library that it comes from."""
    version: str = ""
    """Its own version; by default that of the distribution that ships it."""
    direct: bool = True
    """Whether it sums products of inputs and weights alone: then small integers come out exact."""
    needs_factors: bool = False
    """Whether it computes from `Weights.factors`, and so needs `weight_kind="separable"`."""
    device_types: tuple[str, ...] | None = None
    """The device types that it runs on; None: all."""
    dtypes: tuple[str, ...] | None = None
    """The dtypes that it computes in, such as "float32"; None: all."""
    family: str = BASIC
    """What `--backend` takes it by, beside its name: one of `FAMILIES`; "": runs unless others
    are asked for."""
    modules: tuple[str, ...] = ()
    """The packages that it imports when it prepares, beyond what convsweep itself needs."""
    extra: str | None = None
    """The extra of convsweep that installs them."""
    compile_s: float = 0.0
    """The longest that compiling may take in `prepare` or at the first call, in seconds; a case's
    time limit is that much longer."""
    compiles_per_problem: bool = False
    """Whether it compiles for each problem anew, and in each process; else once, and keeps it."""
    own_threads: bool = False
    """Whether it brings a thread pool beside torch's."""
    nominal_macs_per_s: float = 4e10
    """A rough rate on one core, to forecast how long a sweep takes; no result depends on it."""
