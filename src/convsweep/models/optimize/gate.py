"""The gates of an optimized model: each layer on its own real input, and the whole of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convsweep.backends.registry import list_backends
from convsweep.formatting import one_line
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import GateResult, Reference, check, compute_reference
from convsweep.models.optimize.geometry import Geometry, key_of
from convsweep.models.optimize.layer_inventory import Example, call, copied
from convsweep.models.optimize.layers import prepared, weights_of
from convsweep.problems.problem import ConvProblem
from convsweep.results.store import BASELINE

LEEWAY = 8
"""How much larger than expected the error of a whole model may be: it is the largest of few
numbers, each a sum of rounding errors as they happen to fall."""


@dataclass(frozen=True)
class LayerError:
    """How far a layer's answer to its own real input is off, in units of eps * max(|x| * |w|)."""

    error_ratio: float
    bound: float
    """The backend's own, for the problem."""
    torch_error_ratio: float
    relative_err: float
    """max|y - true y| / max|true y|."""

    @property
    def growth(self) -> float:
        """How many times as large as torch's own error it is; 1 where it is smaller."""
        # No answer is expected to be nearer to the truth than its own rounding.
        return max(1.0, self.error_ratio / max(self.torch_error_ratio, 0.5))


def gate_layer(
    module: Any, own: Geometry, x: Tensor, name: str, max_error: float | None
) -> LayerError | str:
    """Hold a backend to the float64 truth of a layer's real input; why it fails, where it does.

    Args:
        module: the convolution, whose weights are used.
        own: what it does to `x`.
        x: its input, as the model gives it.
        name: of the backend.
        max_error: the largest relative error; None: only the backend's own bound holds.
    """
    problem, padded = own.problem, own.padded(x).clone()
    # The gate looks whether they are written to: they are not the model's own.
    inputs = Inputs(padded, weights_of(copy.deepcopy(module)))
    bound = list_backends()[name].error_bound(problem)
    try:
        truth = compute_reference(problem, inputs)
        found = _held(name, problem, inputs, truth, bound)
    except Exception as error:
        return f"{name} fails on its input: {one_line(f'{type(error).__name__}: {error}')}"
    if found.reason:
        return f"{name} is wrong on its input: {found.reason}"
    relative = found.relative_err or 0.0
    if max_error is not None and relative > max_error:
        return f"{name} has a relative error of {relative:.2g} on its input, above {max_error:g}"
    torchs = _held(BASELINE, problem, inputs, truth, float("inf")).error_ratio
    return LayerError(found.error_ratio or 0.0, bound, torchs or 0.0, relative)


def _held(
    name: str, problem: ConvProblem, inputs: Inputs, truth: Reference, bound: float
) -> GateResult:
    conv = prepared(name, problem, inputs.weights, key_of(inputs.x))
    return check(conv, problem, inputs, truth, bound)


class WholeError(NamedTuple):
    """How far whole models are off: max|y - y of the original in float64| / max|that|.

    Where the original can't run in float64, it is held to in its own dtype.
    """

    original: float
    """Where it can't run in float64: a rounding error for each convolution of one call."""
    optimized: float
    allowed: float
    why_not_float64: str = ""
    """What torch says where it can't."""

    @property
    def passes(self) -> bool:
        """Whether the optimized model is near enough."""
        return self.optimized <= self.allowed


class WholeTruth:
    """What the original gives in float64, and how far it is off itself.

    One that converts to a dtype by name can't run in float64: then what it gives in its own dtype,
    which is taken to be off by a rounding error for each convolution.
    """

    def __init__(self, original: nn.Module, example: Example, convolutions: int) -> None:
        """Run both.

        Args:
            original: in evaluation mode.
            example: what it is called with.
            convolutions: of one call.

        Raises:
            ValueError: in one line, where it gives no floating tensor.
        """
        self._example, self._load_failure = example, ""
        own = _floating(call(original, example))
        if not own:
            raise ValueError("the model gives no floating tensor, so nothing can be held to it")
        self._eps = max(torch.finfo(y.dtype).eps for y in own)
        try:
            wide = copied(original).double()
            self._true = _floating(example.in_float64().call(wide))
            self._original = self._off(own)
        except Exception as error:
            self._load_failure = one_line(f"{type(error).__name__}: {error}")
            self._true, self._original = own, self._eps * convolutions

    def hold(self, optimized: nn.Module, growth: float) -> WholeError:
        """How far the optimized model is off, and how far it may be.

        A model carries the rounding errors of its layers to its output, the same way whoever makes
        them. Where no layer's error is more than `growth` times as large as torch's, nor is the
        sum of them, but for luck.
        """
        allowed = LEEWAY * growth * max(self._original, self._eps)
        optimized_off = self._off(_floating(self._example.call(optimized)))
        return WholeError(self._original, optimized_off, allowed, self._load_failure)

    def _off(self, answers: list[Tensor]) -> float:
        """The largest relative error of all outputs."""
        if [y.shape for y in answers] != [y.shape for y in self._true]:
            return float("inf")
        return max(map(_relative, answers, self._true), default=0.0)


def _floating(output: Any) -> list[Tensor]:
    """The floating tensors of an output, however it is nested."""
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point() and leaf.numel()]


def _relative(y: Tensor, true: Tensor) -> float:
    """max|y - true| / max|true|; where all of the truth is zero, max|y|."""
    off = float((y.double() - true).abs().max())
    size = float(true.abs().max()) or 1.0
    return float("inf") if math.isnan(off) else off / size
