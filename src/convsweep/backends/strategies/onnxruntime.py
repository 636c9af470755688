"""ONNX Runtime's convolution: MLAS, in blocks of channels."""

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.backends.engines import graph, onnxruntime
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A session for the problem, its weights packed."""
    return onnxruntime.convolution(graph.dense(problem, weights))


BACKEND = Backend(
    name="onnxruntime",
    prepare=prepare,
    error_bound=library_bound,
    source="ONNX Runtime, operator Conv of its CPU execution provider",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("onnxruntime", "onnx"),
    extra="onnxruntime",
    own_threads=True,
)
