"""ONNX Runtime, whose MLAS library computes in blocks of channels."""

from convsweep.backends.base import imported_late
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("onnxruntime", "separable_onnxruntime"),
    imported_late("engines.onnxruntime"),
    sources=(
        "ONNX Runtime, operator Conv of its CPU execution provider",
        "ONNX Runtime, two operators Conv; Howard et al. 2017, MobileNets",
    ),
    modules=("onnxruntime", "onnx"),
    extra="onnxruntime",
    own_threads=True,
)
