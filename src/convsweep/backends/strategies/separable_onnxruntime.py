"""Depthwise and 1x1 convolution as one ONNX Runtime session."""

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.backends.engines import graph, onnxruntime
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A session of both halves, which may keep blocks of channels between them."""
    return onnxruntime.convolution(graph.separable(problem, weights))


BACKEND = Backend(
    name="separable_onnxruntime",
    prepare=prepare,
    unsupported=not_separable_reason,
    macs=separable_macs,
    min_bytes=separable_min_bytes,
    error_bound=factored_sum_bound,
    source="ONNX Runtime, two operators Conv; Howard et al. 2017, MobileNets",
    direct=False,
    needs_factors=True,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("onnxruntime", "onnx"),
    extra="onnxruntime",
    own_threads=True,
)
