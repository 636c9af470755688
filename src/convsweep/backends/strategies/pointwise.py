"""1x1 convolution as one matrix product over all pixels (Lin et al. 2013)."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights, matrix_unsupported
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to the matrix."""
    matrix = weights.dense.flatten(1)  # (C_out, C_in)
    output_shape = problem.output_shape

    def conv(x: Tensor) -> Tensor:
        pixels = problem.strided(x).flatten(2)  # (N, C_in, prod(output_size))
        y = matrix @ pixels  # (N, C_out, prod(output_size))
        if weights.bias is not None:
            y = y + weights.bias[:, None]
        return y.reshape(output_shape)

    return conv


BACKEND = Backend(
    name="pointwise",
    prepare=prepare,
    unsupported=matrix_unsupported,
    source="Lin, Chen & Yan 2013, Network In Network; Dive into Deep Learning, section 7.4.3",
)
