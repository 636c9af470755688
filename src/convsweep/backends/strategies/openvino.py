"""OpenVINO's convolution, which its CPU plugin makes with a oneDNN of its own."""

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.backends.engines import graph, openvino
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """A model compiled for the problem."""
    return openvino.convolution(graph.dense(problem, weights))


BACKEND = Backend(
    name="openvino",
    prepare=prepare,
    error_bound=library_bound,
    source="OpenVINO, CPU plugin",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    modules=("openvino",),
    extra="openvino",
    own_threads=True,
)
