"""MobileNet's layer: a depthwise convolution, then a 1x1 convolution (Howard et al. 2017)."""

from functools import partial

from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backend import Backend, Conv, Weights, direct_sum_bound
from convsweep.problem import ConvProblem
from convsweep.separation import depthwise_half, is_replaceable, pointwise_half

_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}


def unsupported(problem: ConvProblem) -> str | None:
    """A weight of one group factors; a 1x1 kernel has nothing to separate."""
    if not is_replaceable(problem):
        return "needs groups=1 and a kernel above 1"
    return None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Take the two factors of the weight in place of the weight."""
    assert weights.factors is not None
    depthwise, pointwise = weights.factors  # (C_in, 1, *kernel_size), (C_out, C_in, 1, ...)
    convolve = _BY_RANK[problem.rank]
    each_channel = partial(
        convolve,
        weight=depthwise,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.in_channels,
    )
    across_channels = partial(convolve, weight=pointwise, bias=weights.bias)

    def conv(x: Tensor) -> Tensor:
        return across_channels(each_channel(x))  # both (N, C, *output_size)

    return conv


def macs(problem: ConvProblem) -> int:
    """Both halves: 1 / C_out + 1 / prod(kernel_size) of the standard layer's."""
    return depthwise_half(problem).macs + pointwise_half(problem).macs


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Both halves: what lies between them is written and read."""
    return sum(half(problem).min_bytes(itemsize) for half in (depthwise_half, pointwise_half))


def error_bound(problem: ConvProblem) -> float:
    """Two sums, and a product of factors that the dense weight rounds."""
    return direct_sum_bound(problem) + 2


BACKEND = Backend(
    name="separable",
    prepare=prepare,
    unsupported=unsupported,
    macs=macs,
    min_bytes=min_bytes,
    error_bound=error_bound,
    source="Howard et al. 2017, MobileNets; Sifre 2014",
    needs_factors=True,
)
