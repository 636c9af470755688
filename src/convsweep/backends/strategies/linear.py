"""1x1 convolution as a fully connected layer per pixel (Dive into Deep Learning, 7.4.3)."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights, matrix_unsupported
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to the weight of a `torch.nn.Linear`."""
    from torch.nn.functional import linear

    matrix = weights.dense.flatten(1)  # (C_out, C_in)

    @step("product")
    def layer(x: Tensor) -> Tensor:  # (N, C_out, *output_size), channels last in memory
        pixels = problem.strided(x).movedim(1, -1)  # (N, *output_size, C_in), a view
        return linear(pixels, matrix, weights.bias).movedim(-1, 1)

    @step("layout")
    def layout_of(x: Tensor, y: Tensor) -> Tensor:
        return y if x.movedim(1, -1).is_contiguous() else y.contiguous()

    return lambda x: layout_of(x, layer(x))


BACKEND = Backend(
    name="linear",
    prepare=prepare,
    unsupported=matrix_unsupported,
    source="torch.nn.functional.linear; Dive into Deep Learning, section 7.4.3",
)
