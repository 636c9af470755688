"""Own kernels, compiled by Numba and Triton, whose imports take a second: import them late."""

from importlib import import_module

from convsweep.backends.base import Conv, Weights
from convsweep.problems.problem import ConvProblem


def prepare_by(module: str, problem: ConvProblem, weights: Weights) -> Conv:
    """Import a module of this package and return the convolution that it prepares."""
    conv: Conv = import_module(f"{__name__}.{module}").prepare(problem, weights)
    return conv
