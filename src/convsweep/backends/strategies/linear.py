"""1x1 convolution as a fully connected layer at every pixel (Dive into Deep Learning, 7.4.3)."""

from torch import Tensor
from torch.nn.functional import linear

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """A fully connected layer sees one pixel: no neighbours, no padding, no groups."""
    if problem.is_pointwise and problem.groups == 1 and not any(problem.padding):
        return None
    return "needs kernel_size 1, no padding, groups=1"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """The kernels are the layer's weight, as `torch.nn.Linear` keeps it."""
    matrix = weights.dense.flatten(1)  # (C_out, C_in)

    def conv(x: Tensor) -> Tensor:
        pixels = problem.strided(x).movedim(1, -1)  # (N, *output_size, C_in), a view
        y = linear(pixels, matrix, weights.bias).movedim(-1, 1)  # (N, C_out, *output_size)
        # Channels come last out of the layer: they stay there only where they came so.
        return y if x.movedim(1, -1).is_contiguous() else y.contiguous()

    return conv


BACKEND = Backend(
    name="linear",
    prepare=prepare,
    unsupported=unsupported,
    source="torch.nn.functional.linear; Dive into Deep Learning, section 7.4.3",
)
