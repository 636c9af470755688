"""ncnn's convolution: Winograd or products of matrices, as it sees fit."""

from convsweep.backend import Backend, Conv, Weights, library_bound
from convsweep.engines import layers, ncnn
from convsweep.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A network of one layer, its weights packed."""
    return ncnn.convolution(layers.dense(problem, weights))


BACKEND = Backend(
    name="ncnn",
    prepare=prepare,
    unsupported=ncnn.unsupported,
    error_bound=library_bound,
    source="ncnn, layers Convolution and ConvolutionDepthWise",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("ncnn",),
    extra="ncnn",
    own_threads=True,
)
