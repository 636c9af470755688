"""1x1 convolution as a fully connected layer per pixel (Dive into Deep Learning, 7.4.3)."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights, matrix_unsupported
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to the weight of a `torch.nn.Linear`."""
    from torch.nn.functional import linear

    matrix = weights.dense.flatten(1)  # (C_out, C_in)

    def conv(x: Tensor) -> Tensor:
        pixels = problem.strided(x).movedim(1, -1)  # (N, *output_size, C_in), a view
        y = linear(pixels, matrix, weights.bias).movedim(-1, 1)  # (N, C_out, *output_size)
        # The layer returns channels last; keep that only for a channels_last input.
        return y if x.movedim(1, -1).is_contiguous() else y.contiguous()

    return conv


BACKEND = Backend(
    name="linear",
    prepare=prepare,
    unsupported=matrix_unsupported,
    source="torch.nn.functional.linear; Dive into Deep Learning, section 7.4.3",
)
