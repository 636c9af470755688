"""A prepared backend in one direction: the calls of its gradients by autograd.

`backward_input` and `backward_weight` time the gradients alone: the forward pass is made before,
with what it keeps for them. `training` times the forward pass and both gradients.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convsweep.backends.base import Backend, BatchNorm, Conv, Weights
from convsweep.measure.inputs import Inputs
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT, TRAINING
from convsweep.problems.problem import ConvProblem

_NEEDS_GRAPH = "requires grad"  # in PyTorch's errors of work that autograd cannot follow


@cache
def start_autograd() -> None:
    """Compute a first gradient of this process, for which PyTorch imports modules."""
    with torch.enable_grad():
        x = torch.ones(1, requires_grad=True)
        torch.autograd.grad(x * x, x, torch.ones(1))


class NoGradient(Exception):
    """Raised if autograd cannot compute the gradients of a backend's output."""


class DirectedConv:
    """A backend in one direction, as a function of the input that returns several tensors.

    Call `start` after each change of the inputs: it makes the forward pass that is not timed, and
    keeps what that keeps for the gradients until `stop`.
    """

    def __init__(
        self, backend: Backend, problem: ConvProblem, inputs: Inputs, direction: str
    ) -> None:
        assert inputs.grad is not None
        self._backend, self._problem, self._grad = backend, problem, inputs.grad
        self._is_training = direction == TRAINING
        self._y: Tensor | None = None
        self._gradients = None
        if backend.gradients is not None:
            self._conv = backend.prepare(problem, inputs.weights)
            self._gradients = backend.gradients(problem, inputs.weights, direction)
            return
        needs_x, needs_weights = direction != BACKWARD_WEIGHT, direction != BACKWARD_INPUT
        self._x = inputs.x.detach().requires_grad_(needs_x)
        self._weights = _leaves(inputs.weights, needs_weights, backend.needs_factors)
        own = self._weights
        dense = own.factors if backend.needs_factors and own.factors else (own.dense,)
        norms = own.factor_norms if backend.needs_factors else filter(None, (own.norm,))
        affine = [values for norm in norms for values in (norm.gamma, norm.beta)]
        parameters = [*dense, *([] if own.bias is None else [own.bias]), *affine]
        self._wanted = [*([self._x] if needs_x else []), *(parameters if needs_weights else [])]
        computed = _Computed()
        with torch.enable_grad(), computed:
            self._conv = backend.prepare(problem, self._weights)
        self._repeats = needs_weights and computed.any

    def start(self) -> None:
        """Make the forward pass of a backward direction.

        Raises:
            NoGradient: autograd cannot follow it.
        """
        self.stop()
        if not self._is_training and self._gradients is None:
            self._y = self._forward()

    def stop(self) -> None:
        """Free what the forward pass has kept."""
        self._y = None

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of `outputs_of`; `x` is the input given before."""
        if self._gradients is not None:
            first = (self._conv(x),) if self._is_training else ()
            return *first, *self._gradients(x, self._grad)
        y = self._forward() if self._is_training else self._y
        assert y is not None
        found = torch.autograd.grad(
            y, self._wanted, self._grad, retain_graph=not self._is_training, allow_unused=True
        )
        return (y.detach(), *found) if self._is_training else found

    def _forward(self) -> Tensor:
        conv: Conv = self._conv
        try:
            with torch.enable_grad():
                if self._repeats:  # the weights change at every step
                    conv = self._backend.prepare(self._problem, self._weights)
                y = conv(self._x)
        except RuntimeError as error:
            if _NEEDS_GRAPH in str(error):
                raise NoGradient(f"cannot run under autograd: {error}") from error
            raise
        if not y.requires_grad:
            raise NoGradient("autograd has no graph of its output")
        return y


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
