"""Work of a case in its direction: multiply-accumulates, and least bytes to move."""

import math

from convsweep.backends.base import Backend
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD, ITEMSIZE, Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE_PARTS, pointwise_part


def executed_macs(backend: Backend, case: Case) -> int:
    """Return the MACs that a backend executes: as many per gradient as in the forward pass.

    The gradient of a depthwise weight also needs that of the tensor between both parts.
    """
    macs = case.products * backend.macs(case.problem)
    if backend.needs_factors and case.direction == BACKWARD_WEIGHT:
        macs += pointwise_part(case.problem).macs
    return macs


def least_bytes(case: Case) -> int:
    """Return the least bytes to move: each tensor of the direction once."""
    return ITEMSIZE[case.dtype] * _elements(case.problem, case.direction)


def moved_bytes(backend: Backend, case: Case) -> int:
    """Return the least bytes to move for a backend.

    What it moves beyond the direct bytes in the forward pass, it moves once per product. A layer of
    factors is computed in two parts.
    """
    problem, itemsize, direction = case.problem, ITEMSIZE[case.dtype], case.direction
    if direction == FORWARD:
        return backend.min_bytes(problem, itemsize)
    if not backend.needs_factors:
        beyond = backend.min_bytes(problem, itemsize) - problem.min_bytes(itemsize)
        return least_bytes(case) + case.products * beyond
    elements = sum(_elements(part(problem), direction) for part in SEPARABLE_PARTS.values())
    if direction == BACKWARD_WEIGHT:
        elements += _elements(pointwise_part(problem), BACKWARD_INPUT)
    return itemsize * elements


def _elements(problem: ConvProblem, direction: str) -> int:
    """Return the elements to read and write; of a gradient's input those that are used."""
    forward = problem.min_bytes(1)  # used inputs, weight, bias, output
    x, w, y = map(math.prod, (problem.input_shape, problem.weight_shape, problem.output_shape))
    parameters = w + problem.bias * problem.out_channels
    return {
        FORWARD: forward,
        BACKWARD_INPUT: x + w + y,  # all of the input's gradient is written
        BACKWARD_WEIGHT: forward,  # the weight's and the bias's are written
    }.get(direction, forward + x + parameters + y)
