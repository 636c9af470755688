"""PyTorch's own convolution: its library chooses the algorithm."""

from importlib.metadata import version

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Bind the weights; PyTorch prepares nothing in advance."""
    from convsweep.backends.tensor_layout import bind_conv

    return bind_conv(problem, weights.dense, weights.bias)


BACKEND = Backend(
    name="torch_conv",
    prepare=prepare,
    error_bound=library_bound,
    float32_sums=True,
    source="torch.nn.functional.conv1d, conv2d, conv3d, conv_transpose1d, ...",
    version=f"torch {version('torch')}",
    direct=False,
    transposed=True,
)
