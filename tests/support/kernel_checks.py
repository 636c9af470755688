"""Checks of a kernel in the checked mode: red zones around its memory, and the gate."""

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from hypothesis import settings
from torch import Tensor

from convsweep.backends.base import Backend, Conv, GraphLayer, Weights
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.outcome import Outcome
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from tests.support.red_zones import guarded, red_zones

EXAMPLES = int(os.environ.get("CONVSWEEP_EXAMPLES", "25"))
"""How many problems are drawn; the environment may ask for more of them."""
DRAWN = settings(max_examples=EXAMPLES)


def check_kernel(
    prepare: Callable[[ConvProblem, Weights], Conv],
    problem: ConvProblem,
    bound: float,
    *,
    memory_format: str = "contiguous",
    weight_kind: str = "dense",
    threads: int = 1,
) -> Outcome:
    """Return the gate's result; raises if something outside the buffers was written.

    Reads outside the buffers return NaN, which the gate finds in the output.
    """
    inputs = make_inputs(problem, memory_format=memory_format, weight_kind=weight_kind)
    reference = compute_reference(problem, inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with red_zones():
            conv = prepare(problem, guarded_weights(inputs.weights))
            return check(lambda x: conv(guarded(x)), inputs, output(reference, bound))
    finally:
        torch.set_num_threads(before)


def relu_is_fused(backend: Backend, problem: ConvProblem, memory_format: str, threads: int) -> bool:
    """Return whether a kernel with ReLU gives the same as without it, clipped.

    Raises if something outside the buffers was written.
    """
    inputs = make_inputs(problem, memory_format=memory_format)
    assert backend.prepare_block is not None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with red_zones():
            weights = guarded_weights(inputs.weights)
            layer = GraphLayer(problem, weights.dense, weights.bias)
            bounds = (math.inf, 0.5)
            clipped = [
                backend.prepare_block([layer._replace(relu=bound)])(guarded(inputs.x))
                for bound in bounds
            ]
            plain = backend.prepare(problem, weights)(guarded(inputs.x))
            pairs = zip(clipped, bounds, strict=True)
            return all(torch.equal(y, plain.clamp(0, bound)) for y, bound in pairs)
    finally:
        torch.set_num_threads(before)


def guarded_weights(weights: Weights) -> Weights:
    """Copies between red zones, in the checked mode."""
    bias = None if weights.bias is None else guarded(weights.bias)
    factors = weights.factors
    return Weights(
        dense=guarded(weights.dense),
        bias=bias,
        factors=factors and (guarded(factors[0]), guarded(factors[1])),
    )


def wrong_inputs(x: Tensor) -> list[Tensor]:
    """Inputs of other dtypes, other sizes, other ranks."""
    return [
        x.double(),
        x.half(),
        x.int(),
        x[:1],
        torch.cat((x, x)),
        x[:, 1:],
        x[..., 1:],
        x[0],
        x.flatten(),
    ]


def threads_are_independent(conv: Conv, inputs: Inputs) -> bool:
    """Return whether 4 threads that call at the same time all get the output that one alone gets.

    Calls start together, and the interpreter switches threads as often as it can.
    """
    factors = range(1, 5)
    together = threading.Barrier(len(factors), timeout=60)
    alone = {factor: conv(inputs.x * factor).clone() for factor in factors}

    def calls(factor: int) -> bool:
        x, outputs = inputs.x * factor, []
        try:
            with torch.no_grad():
                for _ in range(50):
                    together.wait()
                    outputs.append(conv(x))
        except Exception:
            together.abort()  # the others stop waiting
            raise
        return all(torch.allclose(y, alone[factor], atol=1e-3) for y in outputs)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(factors)) as pool:
            return all(pool.map(calls, factors))
    finally:
        sys.setswitchinterval(before)
