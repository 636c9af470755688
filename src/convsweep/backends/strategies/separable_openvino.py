"""Depthwise and 1x1 convolution as one OpenVINO model."""

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.backends.engines import graph, openvino
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A model of both halves, which may keep blocks of channels between them."""
    return openvino.convolution(graph.separable(problem, weights))


BACKEND = Backend(
    name="separable_openvino",
    prepare=prepare,
    unsupported=not_separable_reason,
    macs=separable_macs,
    min_bytes=separable_min_bytes,
    error_bound=factored_sum_bound,
    source="OpenVINO, CPU plugin; Howard et al. 2017, MobileNets",
    direct=False,
    needs_factors=True,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("openvino",),
    extra="openvino",
    own_threads=True,
)
