"""Direct convolution in Numba: matrix products read the padded rows of the input in place."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """The kernels work on images, and across all their channels."""
    if problem.rank == 2 and problem.groups == 1:
        return None
    return "needs 2 spatial dimensions, groups=1"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Weights in panels of 16 output channels."""
    from convsweep.backends.kernels import direct

    return direct.prepare(problem, weights.dense, weights.bias)


BACKEND = Backend(
    name="direct_numba",
    prepare=prepare,
    unsupported=unsupported,
    source="Anderson et al. 2017, Low-memory GEMM-based convolution algorithms for deep neural "
    "networks; Georganas et al. 2018, Anatomy of High-Performance Deep Learning Convolutions",
    device_types=("cpu",),
    dtypes=("float32",),
    family="kernels",
    modules=("numba",),
    extra="numba",
    compile_s=120.0,
)
