"""1x1 convolution as a fully connected layer per pixel (Dive into Deep Learning, 7.4.3)."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights, matrix_unsupported
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to the weight of a `torch.nn.Linear`."""
    from torch.nn.functional import linear

    matrix = weights.dense.flatten(1)  # (C_out, C_in)
    layer = step("product")(lambda pixels: linear(pixels, matrix, weights.bias))
    contiguous = step("layout")(lambda y: y.contiguous())

    def conv(x: Tensor) -> Tensor:
        pixels = problem.strided(x).movedim(1, -1)  # (N, *output_size, C_in), a view
        y = layer(pixels).movedim(-1, 1)  # (N, C_out, *output_size)
        # The layer returns channels last; keep that only for a channels_last input.
        return y if x.movedim(1, -1).is_contiguous() else contiguous(y)

    return conv


BACKEND = Backend(
    name="linear",
    prepare=prepare,
    unsupported=matrix_unsupported,
    float32_sums=True,
    source="torch.nn.functional.linear; Dive into Deep Learning, section 7.4.3",
)
