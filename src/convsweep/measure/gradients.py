"""Outputs of a case, the result and gradients: their names, references and bounds."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep.backends.base import Backend, direct_bound
from convsweep.backends.problem_kinds import evenly_padded, excess
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import Expected, Reference, allowed_error, compute_reference
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD, TRAINING
from convsweep.problems.problem import ConvProblem

OUTPUT, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS = "y", "grad_input", "grad_weight", "grad_bias"
GRAD_FACTORS = GRAD_DEPTHWISE, GRAD_POINTWISE = ("grad_depthwise", "grad_pointwise")
GRAD_NORM = ("grad_gamma", "grad_beta")
GRAD_FACTOR_NORMS = tuple(
    f"{name}_{part}" for part in ("depthwise", "pointwise") for name in GRAD_NORM
)


def outputs_of(
    direction: str, problem: ConvProblem, factored: bool, is_block: bool = False
) -> tuple[str, ...]:
    """Return the names of the tensors that a call returns, in order."""
    weights = GRAD_FACTORS if factored else (GRAD_WEIGHT,)
    norms = GRAD_FACTOR_NORMS if factored else GRAD_NORM
    parameters = (*weights, *([GRAD_BIAS] if problem.bias else []), *(norms if is_block else ()))
    return {
        FORWARD: (OUTPUT,),
        BACKWARD_INPUT: (GRAD_INPUT,),
        BACKWARD_WEIGHT: parameters,
        TRAINING: (OUTPUT, GRAD_INPUT, *parameters),
    }[direction]


def compute_outputs(problem: ConvProblem, inputs: Inputs) -> dict[str, Reference]:
    """Compute the output and every gradient in float64, each with the scale of its errors.

    Inputs without a gradient of the output have the output alone.

    The scale of a sum of products is the largest sum of their magnitudes. Its terms are positive,
    so float32 computes it to 1e-4 and in less time.
    """
    x, grad, weights = inputs.x, inputs.grad, inputs.weights
    if grad is None:
        return {OUTPUT: compute_reference(problem, inputs)}
    precise = torch.float64 if x.dtype is torch.float64 else torch.float32
    exact = (tensor.double() for tensor in (x, weights.dense, grad))
    sized = (tensor.to(precise).abs() for tensor in (x, weights.dense, grad))
    values = convolution_gradients(problem, *exact)
    sizes = convolution_gradients(problem, *sized)
    if weights.factors:
        factors = [factor.double() for factor in weights.factors]
        values |= _factor_gradients(values[GRAD_WEIGHT], *factors)
        sizes |= _factor_gradients(sizes[GRAD_WEIGHT], *(factor.abs() for factor in factors))
    if problem.bias:
        over, exact_grad = all_but_channels(problem), grad.double()
        values[GRAD_BIAS], sizes[GRAD_BIAS] = exact_grad.sum(over), exact_grad.abs().sum(over)
    factor = {GRAD_INPUT: 2.0, GRAD_BIAS: 2.0}  # `check` changes x to -x, and doubles `grad`
    found = {
        name: Reference(value, None, float(sizes[name].max()), factor.get(name, -2.0))
        for name, value in values.items()
    }
    return {OUTPUT: compute_reference(problem, replace(inputs, grad=None)), **found}


def convolution_gradients(
    problem: ConvProblem, x: Tensor, w: Tensor, grad: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of the input and the weight."""
    even = evenly_padded(problem)
    sides = [side for both in reversed(excess(problem)) for side in both]
    found = torch.ops.aten.convolution_backward(
        grad, pad(x, sides), w, None, even.stride, even.padding, even.dilation, even.transposed,
        even.output_padding, even.groups, (True, True, False),
    )  # fmt: skip
    return {GRAD_INPUT: pad(found[0], [-side for side in sides]), GRAD_WEIGHT: found[1]}


def all_but_channels(problem: ConvProblem) -> tuple[int, ...]:
    """Return the dimensions that a bias's gradient and batch statistics are taken over."""
    return (0, *range(2, 2 + problem.rank))


def _factor_gradients(dense: Tensor, depthwise: Tensor, pointwise: Tensor) -> dict[str, Tensor]:
    """Return the gradients of both factors, given that of `W[o, c, k] = P[o, c] * D[c, k]`."""
    rank = dense.dim() - 2
    of_depthwise = (pointwise * dense).sum(0)[:, None]
    of_pointwise = (depthwise.transpose(0, 1) * dense).flatten(2).sum(2)
    return dict(zip(GRAD_FACTORS, (of_depthwise, of_pointwise[(..., *[None] * rank)]), strict=True))


def output_bounds(
    backend: Backend,
    problem: ConvProblem,
    dtype: torch.dtype,
    references: Mapping[str, Expected],
    is_block: bool = False,
) -> dict[str, float]:
    """Return the largest allowed error of each output, in units of eps * its scale.

    A gradient is computed by the steps of the forward pass, transposed. So its bound is that of the
    same algorithm for as many products per element: what a backend states for a problem with the
    same kernel and size, and with more or fewer channels. The gradient of a bias is a direct sum,
    whatever the algorithm. In a block, errors of every output come from all sums before it.
    """
    bounds = {}
    sums = (OUTPUT,) if [*references] == [OUTPUT] else (OUTPUT, GRAD_INPUT, GRAD_WEIGHT)
    for name, expected in references.items():
        terms = terms_of(OUTPUT if is_block else name, problem)
        if name == GRAD_BIAS and not is_block:
            largest = direct_bound(terms)
        else:
            before = sums if is_block else (name,)
            largest = max(backend.error_bound(_like(one, problem)) for one in before)
        once = name == OUTPUT and not (is_block or problem.transposed)
        bounds[name] = allowed_error(backend, largest, dtype, expected, terms, once=once)
    return bounds


def _like(name: str, problem: ConvProblem) -> ConvProblem:
    """Return a problem of the same kind with as many products per output as an output has."""
    if name == OUTPUT:
        return problem
    channels = max(1, round(terms_of(name, problem) / math.prod(problem.kernel_size)))
    return replace(problem, in_channels=channels * problem.groups, out_channels=problem.groups)


def terms_of(name: str, problem: ConvProblem) -> int:
    """Return how many products each element of an output is a sum of.

    An input element takes part in K_h * K_w outputs of each of the C_out / groups channels of its
    group; the border, or a stride, only leaves some out. A weight or a bias takes part in all
    N * H_out * W_out outputs of its channel, a transposed weight in products with all pixels of the
    input. In a separable layer, a depthwise weight takes part in those of all C_out channels, and a
    pointwise weight in K_h * K_w products per output.
    """
    taps, outputs = math.prod(problem.kernel_size), math.prod(problem.output_size)
    of_weight = math.prod(problem.input_size) if problem.transposed else outputs
    return {
        OUTPUT: problem.taps,
        GRAD_INPUT: problem.out_channels // problem.groups * taps,
        GRAD_WEIGHT: problem.batch_size * of_weight,
        GRAD_BIAS: problem.batch_size * outputs,
        GRAD_DEPTHWISE: problem.batch_size * outputs * problem.out_channels,
        GRAD_POINTWISE: problem.batch_size * outputs * taps,
    }[name]
