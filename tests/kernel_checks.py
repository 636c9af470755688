"""A kernel run in the checked mode: red zones around its memory, its answer held to the truth."""

import os
from collections.abc import Callable

import torch
from hypothesis import settings

from convsweep.backend import Conv, Weights
from convsweep.inputs import make_inputs
from convsweep.kernels import buffers
from convsweep.problem import ConvProblem
from convsweep.reference import Finding, gate, reference

DRAWN = settings(deadline=None, max_examples=int(os.environ.get("CONVSWEEP_EXAMPLES", "60")))
"""How many problems are drawn; the environment may ask for more of them."""


def check(
    prepare: Callable[[ConvProblem, Weights], Conv],
    problem: ConvProblem,
    bound: float,
    *,
    memory_format: str = "contiguous",
    weight_kind: str = "dense",
    threads: int = 1,
) -> Finding:
    """What the gate finds; raises where something beside the buffers was written.

    Whatever is read beside them is not a number, and neither is then the answer.
    """
    inputs = make_inputs(problem, memory_format=memory_format, weight_kind=weight_kind)
    truth = reference(problem, inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with buffers.red_zones():
            conv = prepare(problem, _guarded(inputs.weights))
            return gate(lambda x: conv(buffers.guarded(x)), problem, inputs, truth, bound)
    finally:
        torch.set_num_threads(before)


def _guarded(weights: Weights) -> Weights:
    bias = None if weights.bias is None else buffers.guarded(weights.bias)
    factors = weights.factors
    return Weights(
        dense=buffers.guarded(weights.dense),
        bias=bias,
        factors=factors and (buffers.guarded(factors[0]), buffers.guarded(factors[1])),
    )
