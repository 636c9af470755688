"""ONNX Runtime, whose MLAS library computes in blocks of channels."""

import operator

from convsweep.backends.base import imported_late
from convsweep.backends.engines.graph import dense_and_separable
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Return why ONNX Runtime refuses a transposed convolution, or None."""
    is_valid = all(map(operator.lt, problem.output_padding, problem.stride))
    return None if is_valid else "needs an output_padding below the stride"


BACKENDS = dense_and_separable(
    ("onnxruntime", "separable_onnxruntime"),
    imported_late("engines.onnxruntime"),
    sources=(
        "ONNX Runtime, operator Conv of its CPU execution provider",
        "ONNX Runtime, two operators Conv; Howard et al. 2017, MobileNets",
    ),
    unsupported=unsupported,
    modules=("onnxruntime", "onnx"),
    extra="onnxruntime",
    transposed=True,
    own_threads=True,
    int8_source="ONNX Runtime, operator QLinearConv of its CPU execution provider",
)
