"""3x3 convolution with fewer products, in Numba: Winograd's F(2x2), F(4x4) or F(6x6), by size."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.backends.kernels import winograd_tiles
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Transforms for 3x3 at every pixel; every tap has to meet a pixel somewhere.

    A transform mixes all taps. Those that only padding meets would leave rounding errors and no
    sum to measure them by.
    """
    taps = {*zip(problem.kernel_size, problem.stride, problem.dilation, strict=True)}
    if problem.rank != 2 or taps != {(3, 1, 1)} or problem.groups != 1:
        return "needs 2 dimensions, kernel_size 3, stride 1, dilation 1, groups=1"
    if (1, 1) in zip(problem.input_size, problem.padding, strict=True):
        return "needs 2 pixels along each side with padding 1: of a single one, taps meet none"
    return None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Transform the weights, in float64, rounded once."""
    from convsweep.backends.kernels import winograd

    return winograd.prepare(problem, weights)


BACKEND = Backend(
    name="winograd_numba",
    prepare=prepare,
    unsupported=unsupported,
    macs=winograd_tiles.macs,
    min_bytes=winograd_tiles.min_bytes,
    error_bound=winograd_tiles.error_bound,
    source="Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="kernels",
    modules=("numba",),
    extra="numba",
    compile_s=120.0,
)
