"""Depthwise and 1x1 convolution by oneDNN, both with weights reordered once."""

import torch

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.backends.engines import graph, onednn
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def unsupported(problem: ConvProblem) -> str | None:
    """Torch must have oneDNN, and the weight must factor."""
    return onednn.unsupported(problem) or not_separable_reason(problem)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Both factors in the order that oneDNN's primitives want."""
    return onednn.convolution(graph.separable(problem, weights))


BACKEND = Backend(
    name="separable_prepacked",
    prepare=prepare,
    unsupported=unsupported,
    macs=separable_macs,
    min_bytes=separable_min_bytes,
    error_bound=factored_sum_bound,
    source="oneDNN by torch.ops.mkldnn; Howard et al. 2017, MobileNets",
    version=f"torch {torch.__version__}",
    direct=False,
    needs_factors=True,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
)
