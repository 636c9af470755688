"""1x1 convolution as blocked matrix products in Numba: pixels are rows (Lin et al. 2013)."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """A product over pixels: no neighbours, no padding, no groups."""
    if problem.is_pointwise and problem.groups == 1 and not any(problem.padding):
        return None
    return "needs kernel_size 1, no padding, groups=1"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Weights in panels of 16 output channels."""
    from convsweep.backends.kernels import pointwise

    return pointwise.prepare(problem, weights.dense.flatten(1), weights.bias)


BACKEND = Backend(
    name="pointwise_numba",
    prepare=prepare,
    unsupported=unsupported,
    source="Lin, Chen & Yan 2013, Network In Network; Goto & van de Geijn 2008, Anatomy of "
    "High-Performance Matrix Multiplication",
    device_types=("cpu",),
    dtypes=("float32",),
    family="kernels",
    modules=("numba",),
    extra="numba",
    compile_s=120.0,
)
