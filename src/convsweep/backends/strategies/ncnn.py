"""ncnn's convolution: Winograd or products of matrices, as it sees fit."""

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.backends.engines import graph, ncnn
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A network of one layer, its weights packed."""
    return ncnn.convolution(graph.dense(problem, weights))


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
