"""Contract of a convolution strategy: `Weights`, `Conv` and `Backend`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from convsweep.problems.case import FORWARD
from convsweep.problems.problem import ConvProblem

if TYPE_CHECKING:
    from torch import Tensor as Tensor
else:
    Tensor = Any  # torch is imported late

BASIC, TORCH = "basic", f"torch {version('torch')}"
FAMILIES = (BASIC, "algorithms", "kernels", "engines")
"""Basic methods and published algorithms in PyTorch's operations, own kernels, other libraries."""

Conv: TypeAlias = "Callable[[Tensor], Tensor]"
"""(N, C_in, *input_size) -> (N, C_out, *output_size). Returns new memory on every call and leaves
its input unchanged."""


class BatchNorm(NamedTuple):
    """Parameters and running statistics of a batch norm, each (C,)."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor


Gradients: TypeAlias = "Callable[[Tensor, Tensor], tuple[Tensor, ...]]"
"""(x, gradient of the output) -> gradients of the input, the weight and the bias, without those
that the direction leaves out. Returns new memory on every call and leaves its inputs unchanged."""


@dataclass(frozen=True)
class Weights:
    """Parameters of one layer, on its device and in its dtype."""

    dense: Tensor  # (C_out, C_in / groups, *kernel_size); transposed (C_in, C_out / groups, ...)
    bias: Tensor | None = None  # (C_out,)
    factors: tuple[Tensor, Tensor] | None = None
    # depthwise (C_in, 1, *kernel_size) and pointwise (C_out, C_in, 1, ...), where
    # dense[o, c] = pointwise[o, c] * depthwise[c]
    norm: BatchNorm | None = None  # of a block, after the dense convolution
    factor_norms: tuple[BatchNorm, ...] = ()  # after depthwise, after pointwise


class GraphLayer(NamedTuple):
    """One convolution of a graph, with its parameters and what follows it."""

    problem: ConvProblem
    weight: Tensor  # (C_out, C_in / groups, *kernel_size)
    bias: Tensor | None  # (C_out,)
    norm: BatchNorm | None = None
    relu: float = 0.0
    """Upper bound of the ReLU that follows: infinity, 6 for ReLU6; 0: none."""
    training: bool = False
    """Whether the norm takes the statistics of the batch and updates its running ones."""

    def rounded(self, dtype: Any, device: Any = None) -> GraphLayer:
        """Return the layer with weight and bias in a dtype, on a device if it is given."""
        bias = None if self.bias is None else self.bias.to(device, dtype)
        return self._replace(weight=self.weight.to(device, dtype), bias=bias)


@dataclass(frozen=True)
class Implementation:
    """What one call ran, as far as its library says."""

    name: str = ""
    """Operators and kernels, joined by ` + `."""
    reorders: int | None = None
    """Layout conversions and copies per call."""
    kernel_s: float | None = None
    """Seconds per call in the kernels that compute."""
    reorder_s: float | None = None
    """Seconds per call in layout conversions and copies."""
    reason: str = ""
    """Why the name is unknown."""

    def __post_init__(self) -> None:
        """Check the numbers, which may come from another package."""
        numbers = (self.reorders, self.kernel_s, self.reorder_s)
        if not all(n is None or 0 <= n < math.inf for n in numbers):
            raise ValueError(f"numbers of an implementation must be at least 0: {self}")


class Unsupported(Exception):
    """Reason, found by `prepare`, why the backend cannot compute the problem: it is `skipped`."""


def tells(
    conv: Conv,
    implementation: Callable[[Tensor], Implementation],
    measured: Callable[[Tensor], Implementation] | None = None,
) -> Conv:
    """Let a function tell what it runs for an input; others are traced.

    `measured` also returns seconds. It may take long, and runs use `implementation` alone.
    """
    conv.implementation = implementation  # type: ignore[attr-defined]
    conv.measured = measured or implementation  # type: ignore[attr-defined]
    return conv


def imported_late(module: str, name: str = "convolution") -> Callable[..., Any]:
    """Return a function of a module of this package, which is imported at the first call."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(f"convsweep.backends.{module}"), name)(*arguments, **options)

    return call


def supports_all(problem: ConvProblem) -> str | None:
    """Return None: every problem is supported."""
    return None


def supports_every_dtype(problem: ConvProblem, dtype: str) -> str | None:
    """Return None: every dtype is supported."""
    return None


def matrix_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not one matrix product over pixels."""
    if problem.is_pointwise and problem.groups == 1 and not any(map(any, problem.margins)):
        return None
    return "needs kernel_size 1, no padding, groups=1"


def direct_sum_bound(problem: ConvProblem) -> float:
    """Return the error bound of a direct sum, in units of eps * max(conv(|x|, |w|))."""
    return direct_bound(problem.taps)


def direct_bound(terms: int) -> float:
    """Return the error bound of a sum of products, in units of eps * the sum of their magnitudes.

    The error of a sum of n products of zero-mean values hardly grows with n (Higham & Mary 2020,
    Sharper probabilistic backward error analysis). Measured ratios stay near 1. Half precision, a
    wrong corner or a missing bias exceed the bound.
    """
    return 4 + math.log2(terms) / 2


def factored_sum_bound(problem: ConvProblem) -> float:
    """Return the bound of two direct sums whose dense weight is a rounded product of factors."""
    return direct_sum_bound(problem) + 2


def library_bound(problem: ConvProblem) -> float:
    """Return the bound of a library that may use Winograd: F(4x4, 3x3) loses 1.5 digits."""
    return 64.0


@dataclass(frozen=True)
class Backend:
    """One strategy that computes a convolution. Only `name` and `prepare` are required.

    `prepare(problem, weights)` returns the function to time. It never sees the input, and its time
    is reported as `prepare_s`: do there all work that depends on the weights alone. If it raises,
    the case fails with status `error`, or `out_of_memory` for a `MemoryError`.
    """

    name: str
    prepare: Callable[[ConvProblem, Weights], Conv]
    unsupported: Callable[[ConvProblem], str | None] = supports_all
    """Returns the reason why the backend cannot compute the problem, or None. The case is then
    `skipped` with this reason."""
    macs: Callable[[ConvProblem], int] = attrgetter("macs")
    """Returns the multiply-accumulates that the backend executes."""
    min_bytes: Callable[[ConvProblem, int], int] = ConvProblem.min_bytes
    """Returns the least bytes to move, given the bytes per element."""
    error_bound: Callable[[ConvProblem], float] = direct_sum_bound
    """Returns the largest allowed error, in units of eps * max(conv(|x|, |w|))."""
    source: str = ""
    """Paper, book or library of the method."""
    version: str = ""
    """Version of the backend. By default that of the distribution that ships it."""
    direct: bool = True
    """Whether it only sums products of inputs and weights, so that small integers are exact."""
    needs_factors: bool = False
    """Whether it computes from `Weights.factors` and so needs `weight_kind="separable"`."""
    own_padding_end: bool = False
    """Whether `prepare` takes a `padding_end` unlike `padding`. For other backends the excess zeros
    are added within the call, and `problem` has equal padding."""
    transposed: bool = False
    """Whether it computes transposed convolutions, which other backends skip."""
    device_types: tuple[str, ...] | None = None
    """Supported device types, such as "cpu" and "cuda"; None: all."""
    dtypes: tuple[str, ...] | None = None
    """Supported dtypes, such as "float32"; None: all."""
    dtype_unsupported: Callable[[ConvProblem, str], str | None] = supports_every_dtype
    """Returns the reason why it does not compute a problem in a dtype on this machine, or None."""
    float32_sums: bool = False
    """Whether outputs in 16-bit dtypes are sums in float32, rounded once, and again with a bias.
    If not, intermediate results are in the dtype, and larger errors are allowed."""
    computes_in: str = ""
    """Dtype that it computes in if that is not its input's, such as "bfloat16". It then runs only
    if it is named, and never within a family."""
    directions: tuple[str, ...] | None = None
    """Supported directions; None: all, with gradients through autograd, or "forward" alone for
    own kernels and engines."""
    gradients: Callable[[ConvProblem, Weights, str], Gradients] | None = None
    """Returns the function to time for the gradients of a direction; None: those of `prepare`'s
    function, by autograd. In `training` it is called after that function. Name the directions that
    it computes in `directions`."""
    prepare_block: Callable[[Sequence[GraphLayer]], Conv] | None = None
    """Returns the function to time for the layers of a block; None: `prepare` for its convolution,
    then PyTorch's batch norm and ReLU."""
    quantized: bool = False
    """Whether it computes another function, in int8. Its `error_bound` is infinite: the gate checks
    the signal-to-noise ratio of its output, and reports never call it the fastest."""
    family: str = BASIC
    """One of `FAMILIES`, selected by `--backend FAMILY`."""
    by_default: bool = True
    """Whether a basic backend also runs if a request names neither backend nor family."""
    modules: tuple[str, ...] = ()
    """Packages that `prepare` imports, beyond the requirements of convsweep."""
    extra: str | None = None
    """Extra of convsweep that installs `modules`."""
    compile_s: float = 0.0
    """Upper limit of the compile time in `prepare` or the first call, in seconds. It is added to
    the time limit of a case."""
    compiles_per_problem: bool = False
    """Whether every process compiles again for every problem; else compiled code is kept."""
    own_threads: bool = False
    """Whether it has a thread pool of its own; it then runs in a process of its own."""
    nominal_macs_per_s: float = 4e10
    """Rough rate of one core, for the forecast of a run's duration. No result depends on it."""

    @property
    def only_by_name(self) -> bool:
        """Whether no family contains it: it has no forward pass, or computes in another dtype."""
        return bool(self.computes_in) or FORWARD not in (self.directions or (FORWARD,))
