"""Gradients: a prepared backend in one direction, and what its outputs must be.

`backward_input` and `backward_weight` time the gradients alone: the forward pass is made before,
with what it keeps for them. `training` times the forward pass and both gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

from convsweep.backends.base import Backend, BatchNorm, Conv, Weights
from convsweep.backends.problem_kinds import evenly_padded
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import Reference, allowed_error, compute_reference
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT, TRAINING
from convsweep.problems.problem import ConvProblem

OUTPUT, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS = "y", "grad_input", "grad_weight", "grad_bias"
GRAD_FACTORS = ("grad_depthwise", "grad_pointwise")
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
        BACKWARD_INPUT: (GRAD_INPUT,),
        BACKWARD_WEIGHT: parameters,
        TRAINING: (OUTPUT, GRAD_INPUT, *parameters),
    }[direction]


class DirectedConv:
    """A backend in one direction, as a function of the input that returns several tensors.

    Call `start` after each change of the inputs: it makes the forward pass that is not timed.
    """

    def __init__(
        self, backend: Backend, problem: ConvProblem, inputs: Inputs, direction: str
    ) -> None:
        assert inputs.grad is not None
        self._backend, self._problem, self._inputs = backend, problem, inputs
        self._grad, self._is_training = inputs.grad, direction == TRAINING
        needs_x, needs_weights = direction != BACKWARD_WEIGHT, direction != BACKWARD_INPUT
        self._x = inputs.x.detach().requires_grad_(needs_x)
        self._weights = _leaves(inputs.weights, needs_weights, backend.needs_factors)
        own = self._weights
        dense = own.factors if backend.needs_factors and own.factors else (own.dense,)
        norms = own.factor_norms if backend.needs_factors else filter(None, (own.norm,))
        affine = [values for norm in norms for values in (norm.gamma, norm.beta)]
        parameters = [*dense, *([] if own.bias is None else [own.bias]), *affine]
        self._wanted = [*([self._x] if needs_x else []), *(parameters if needs_weights else [])]
        self._y: Tensor | None = None
        computed = _Computed()
        with torch.enable_grad(), computed:
            self._conv = backend.prepare(problem, self._weights)
        self._repeats = needs_weights and computed.any

    def start(self) -> None:
        """Make the forward pass of a backward direction."""
        if not self._is_training:
            self._y = self._forward()

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of `outputs_of`; `x` is the input given before."""
        if self._is_training:
            y = self._forward()
            return y.detach(), *torch.autograd.grad(y, self._wanted, self._grad)
        assert self._y is not None
        return torch.autograd.grad(self._y, self._wanted, self._grad, retain_graph=True)

    def _forward(self) -> Tensor:
        with torch.enable_grad():
            conv: Conv = self._conv
            if self._repeats:  # the weights change at every step
                conv = self._backend.prepare(self._problem, self._weights)
            return conv(self._x)


class _Computed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Whether any operator ran that is not a view."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.any = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.any |= not func.is_view
        return func(*args, **(kwargs or {}))


def _leaves(weights: Weights, wanted: bool, factored: bool) -> Weights:
    """Return the same memory as new tensors that require a gradient if it is wanted."""

    def leaf(tensor: Tensor, required: bool) -> Tensor:
        return tensor.detach().requires_grad_(required)

    dense = leaf(weights.dense, wanted and not factored)
    bias = None if weights.bias is None else leaf(weights.bias, wanted)
    depthwise, pointwise = weights.factors or (None, None)
    factors = None
    if depthwise is not None and pointwise is not None:
        needed = wanted and factored
        factors = leaf(depthwise, needed), leaf(pointwise, needed)

    def leaves(norm: BatchNorm) -> BatchNorm:
        """Return a norm with running statistics of its own, which calls update."""
        gamma, beta = (leaf(values, wanted) for values in norm[:2])
        return BatchNorm(gamma, beta, norm.mean.clone(), norm.variance.clone())

    norms = tuple(map(leaves, weights.factor_norms))
    return Weights(dense, bias, factors, weights.norm and leaves(weights.norm), norms)


def compute_gradients(problem: ConvProblem, inputs: Inputs) -> dict[str, Reference]:
    """Compute the output and every gradient in float64, each with the scale of its errors.

    The scale of a sum of products is that of the products' magnitudes.
    """
    x, w, grad = inputs.x.double(), inputs.weights.dense.double(), inputs.grad
    assert grad is not None
    grad = grad.double()
    values = convolution_gradients(problem, x, w, grad)
    sizes = convolution_gradients(problem, x.abs(), w.abs(), grad.abs())
    over = (0, *range(2, 2 + problem.rank))
    if factors := inputs.weights.factors:
        depthwise, pointwise = (factor.double() for factor in factors)
        values |= _factor_gradients(values[GRAD_WEIGHT], depthwise, pointwise)
        sizes |= _factor_gradients(sizes[GRAD_WEIGHT], depthwise.abs(), pointwise.abs())
    if problem.bias:
        values[GRAD_BIAS], sizes[GRAD_BIAS] = grad.sum(over), grad.abs().sum(over)
    # The gate changes x to -x and the output's gradient to twice its value.
    factor = {GRAD_INPUT: 2.0, GRAD_BIAS: 2.0}
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
    excess = [side for p, e in reversed(problem.margins) for side in (p - min(p, e), e - min(p, e))]
    found = torch.ops.aten.convolution_backward(
        grad, pad(x, excess), w, None, even.stride, even.padding, even.dilation, even.transposed,
        even.output_padding, even.groups, (True, True, False),
    )  # fmt: skip
    return {GRAD_INPUT: pad(found[0], [-side for side in excess]), GRAD_WEIGHT: found[1]}


def _factor_gradients(dense: Tensor, depthwise: Tensor, pointwise: Tensor) -> dict[str, Tensor]:
    """Return the gradients of both factors, given that of `W[o, c, k] = P[o, c] * D[c, k]`."""
    rank = dense.dim() - 2
    of_depthwise = (pointwise * dense).sum(0)[:, None]
    of_pointwise = (depthwise.transpose(0, 1) * dense).flatten(2).sum(2)
    return dict(zip(GRAD_FACTORS, (of_depthwise, of_pointwise[(..., *[None] * rank)]), strict=True))


def gradient_bounds(
    backend: Backend,
    problem: ConvProblem,
    dtype: torch.dtype,
    references: Mapping[str, Reference],
    is_block: bool = False,
) -> dict[str, float]:
    """Return the largest allowed error of each output, in units of eps * its scale.

    In a block, errors of every output come from all sums before it.
    """
    if is_block:
        every = {*map(partial(_summed_problem, problem=problem), (OUTPUT, GRAD_INPUT, GRAD_WEIGHT))}
        return dict.fromkeys(references, max(map(backend.error_bound, every)))
    bounds = {}
    for name, expected in references.items():
        summed = _summed_problem(name, problem)
        largest = backend.error_bound(summed)
        bounds[name] = allowed_error(backend, largest, dtype, expected, summed.taps)
    return bounds


def _summed_problem(name: str, problem: ConvProblem) -> ConvProblem:
    """Return a problem that sums as many products per output element as this output does.

    An element of the input's gradient sums C_out / groups * K_h * K_w products; one of a weight's
    or a bias's gradient N * H_out * W_out.
    """
    if name == OUTPUT:
        return problem
    if name == GRAD_INPUT:
        channels = problem.out_channels // problem.groups
        return ConvProblem(channels, 1, problem.kernel_size, problem.kernel_size)
    return ConvProblem(problem.batch_size, 1, problem.output_size, problem.output_size)
