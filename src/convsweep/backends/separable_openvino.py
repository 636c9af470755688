"""Depthwise and 1x1 convolution as one OpenVINO model."""

from convsweep.backend import Backend, Conv, Weights, factored_sum_bound
from convsweep.engines import layers, openvino
from convsweep.problem import ConvProblem
from convsweep.separation import separable_macs, separable_min_bytes, why_not_separable


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A model of both halves, which may keep blocks of channels between them."""
    return openvino.convolution(layers.separable(problem, weights))


BACKEND = Backend(
    name="separable_openvino",
    prepare=prepare,
    unsupported=why_not_separable,
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
