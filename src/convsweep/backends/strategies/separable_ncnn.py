"""Depthwise and 1x1 convolution as one ncnn network."""

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.backends.engines import graph, ncnn
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def unsupported(problem: ConvProblem) -> str | None:
    """Both halves have the rank and the weight that they need."""
    return ncnn.unsupported(problem) or not_separable_reason(problem)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A network of both halves, which keeps blocks of channels between them."""
    return ncnn.convolution(graph.separable(problem, weights))


BACKEND = Backend(
    name="separable_ncnn",
    prepare=prepare,
    unsupported=unsupported,
    macs=separable_macs,
    min_bytes=separable_min_bytes,
    error_bound=factored_sum_bound,
    source="ncnn, two layers; Howard et al. 2017, MobileNets",
    direct=False,
    needs_factors=True,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("ncnn",),
    extra="ncnn",
    own_threads=True,
)
