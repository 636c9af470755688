"""1x1 convolution as one matrix product over all pixels (Lin et al. 2013)."""

from convsweep.backends.base import Backend, Conv, Weights, matrix_unsupported
from convsweep.backends.steps import bias_step, step
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to the matrix."""
    matrix = weights.dense.flatten(1)  # (C_out, C_in)
    output_shape = problem.output_shape
    with_bias = bias_step(weights.bias, axes_after=1)
    # (N, C_in, *input_size) -> (N, C_in, output pixels) -> (N, C_out, output pixels)
    pixels_of = step("gather")(lambda x: problem.strided(x).flatten(2))
    multiplied = step("product")(lambda pixels: matrix @ pixels)
    return lambda x: with_bias(multiplied(pixels_of(x))).reshape(output_shape)


BACKEND = Backend(
    name="pointwise",
    prepare=prepare,
    unsupported=matrix_unsupported,
    float32_sums=True,
    source="Lin, Chen & Yan 2013, Network In Network; Dive into Deep Learning, section 7.4.3",
)
