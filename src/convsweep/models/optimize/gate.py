"""Correctness gate of an optimized model: each layer on its real input, then the whole model."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.backends.base import Weights
from convsweep.backends.registry import list_backends
from convsweep.formatting import error_line
from convsweep.measure.blocks import compute_folded
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import allowed_error
from convsweep.models.optimize import layers
from convsweep.models.optimize.deferred import NO_EPILOGUE, Epilogue
from convsweep.models.optimize.dispatch import computed_problem, layers_of, prepare
from convsweep.models.optimize.geometry import Geometry, key_of
from convsweep.models.optimize.layer_inventory import (
    ConvCall,
    ModelInputs,
    SkippedLayer,
    call,
    copy_model,
    on_conv_calls,
)
from convsweep.models.optimize.selection import LayerBackend
from convsweep.problems.user_code import UserCodeError, user_code
from convsweep.results.schema import BASELINE

LEEWAY = 8
"""Factor by which a whole model's error may exceed the expected one: it is the largest of few
numbers, each a sum of random rounding errors."""


@dataclass(frozen=True)
class LayerError:
    """Error of a layer on its own real input, in units of eps * max(|x| * |w|)."""

    error_ratio: float
    bound: float  # Error bound of the backend for the problem
    torch_error_ratio: float
    relative_err: float  # max|y - reference| / max|reference|

    @property
    def growth(self) -> float:
        """Error relative to torch's own; at least 1."""
        # No output is expected to be closer to the reference than its own rounding.
        return max(1.0, self.error_ratio / max(self.torch_error_ratio, 0.5))


@dataclass(frozen=True)
class ValidatedLayer:
    """One module on one input that passed the gate with a chosen backend."""

    call: ConvCall
    calls: int  # Number of calls in one forward pass
    choice: LayerBackend
    error: LayerError
    geometry: Geometry
    epilogue: Epilogue = NO_EPILOGUE  # Computed with it: batch norm, ReLU, a 1x1 convolution
    pointwise: str = ""  # Dotted name of the 1x1 convolution that is computed with it

    @property
    def name(self) -> str:
        """Dotted name of the module."""
        return self.call.name

    @property
    def names(self) -> list[str]:
        """Dotted names of its convolutions."""
        return [self.name, self.pointwise] if self.pointwise else [self.name]

    @property
    def convolutions(self) -> int:
        """Number of convolutions in one forward pass."""
        return self.calls * len(self.names)

    def timed(self, taken_s: float, plain_s: float) -> ValidatedLayer:
        """Return it with its seconds inside the model, and those of torch's own convolutions."""
        speedup = Interval(plain_s / taken_s, math.nan, math.nan)
        choice = self.choice._replace(time_s=taken_s / self.calls, speedup=speedup)
        return replace(self, choice=choice)

    @property
    def saving_s(self) -> float:
        """Seconds saved by all calls, expected from the speedup of the layer alone."""
        return self.calls * self.choice.time_s * (self.choice.speedup.value - 1)


def validate_layers(
    model: nn.Module,
    inputs: ModelInputs,
    choices: Mapping[ConvCall, Sequence[LayerBackend]],
    calls: Mapping[ConvCall, int],
    epilogues: Mapping[str, Epilogue],
    max_error: float | None,
) -> tuple[list[list[ValidatedLayer]], dict[ConvCall, str]]:
    """Check every chosen backend on its layer's real input, in one call of the original model.

    A layer includes the batch norm and the ReLU that it is to compute; for a backend that needs
    factors, also the 1x1 convolution that follows.

    Errors must be within the backends' own bounds, and relative errors within `max_error` if it is
    given. Returns each layer with the backends that passed, in the model's order, and why the first
    backend of the others fails. Torch's own convolution has that reason, too.
    """
    found: dict[ConvCall, list[ValidatedLayer]] = {}
    failed: dict[ConvCall, str] = {}
    modules = dict(model.named_modules())
    names = {id(module): name for name, module in modules.items()}

    def validate(layer: ConvCall, own: Geometry, module: nn.Module, x: Tensor) -> None:
        if layer not in choices or layer in found:
            return
        passed, reason = found.setdefault(layer, []), ""
        for is_pair, own_choices in groupby(choices[layer], key=lambda one: one.needs_factors):
            after = epilogues.get(layer.name, NO_EPILOGUE)
            after, some = after if is_pair else after.own, [*own_choices]
            last = names.get(id(after.pointwise), "")
            backends = [choice.backend for choice in some]
            errors = _layer_errors(module, own, x, backends, after, max_error)
            for choice, error in zip(some, errors, strict=True):
                if isinstance(error, str):
                    reason = reason or error if not is_pair else reason
                    continue
                choice = choice._replace(reason=reason or choice.reason)
                passed.append(ValidatedLayer(layer, calls[layer], choice, error, own, after, last))
        if reason and not passed:
            failed[layer] = reason

    with on_conv_calls(modules, {layer.name for layer in choices}, validate):
        call(model, inputs)
    return [*filter(None, found.values())], failed


def _layer_errors(
    module: Any,
    own: Geometry,
    x: Tensor,
    names: Sequence[str],
    after: Epilogue,
    max_error: float | None,
) -> list[LayerError | str]:
    """Check backends against the float64 reference; return their errors, or why they fail."""
    # The gate checks whether inputs and weights are written to: these are copies.
    exact, x = copy.deepcopy(layers_of(module, own.problem, after)), own.padded(x).clone()
    layers, key = [layer.rounded(x.dtype) for layer in exact], key_of(x)
    inputs = Inputs(x, Weights(layers[0].weight, layers[0].bias))
    problem, expected = computed_problem(exact), compute_folded(exact, x)
    baseline = check(prepare(BASELINE, layers, key), inputs, output(expected, float("inf")))

    def error_of(name: str) -> LayerError | str:
        backend = list_backends()[name]
        try:
            bound = allowed_error(
                backend, backend.error_bound(problem), x.dtype, expected, problem.taps
            )
            found = check(prepare(name, layers, key), inputs, output(expected, bound))
        except Exception as error:
            return f"{name} fails on its input: {error_line(error)}"
        if found.reason:
            return f"{name} is wrong on its input: {found.reason}"
        relative = found.relative_err or 0.0
        if max_error is not None and relative > max_error:
            off = f"{relative:.2g} on its input, above {max_error:g}"
            return f"{name} has a relative error of {off}"
        ratios = (found.error_ratio or 0.0, bound, baseline.error_ratio or 0.0)
        return LayerError(*ratios, relative)

    return [*map(error_of, names)]


class ModelError(NamedTuple):
    """Errors of whole models: max|y - reference| / max|reference|.

    The reference is the original in float64; in its own dtype if it cannot run in float64.
    """

    original: float  # If it cannot run in float64: one rounding error per convolution of one call
    optimized: float
    allowed: float
    float64_failure: str = ""  # Why the original cannot run in float64

    @property
    def passes(self) -> bool:
        """Whether the optimized model is within the allowed error."""
        return self.optimized <= self.allowed


class ModelReference:
    """Output of the original in float64, and the original's own error."""

    def __init__(self, original: nn.Module, inputs: ModelInputs, convolutions: int) -> None:
        """Run the original, which has the given number of convolutions, in both dtypes.

        Raises:
            ValueError: the model returns no floating tensor.
        """
        self._inputs, self._float64_failure = inputs, ""
        own = _floating(call(original, inputs))
        if not own:
            raise ValueError("the model returns no floating tensor, so it cannot be checked")
        self._eps = max(torch.finfo(y.dtype).eps for y in own)
        try:
            with user_code(shown=False):
                wide = copy_model(original).double()
                self._expected = _floating(inputs.mapped(_widened).call(wide))
                self._original = self.error(own)
        except UserCodeError as error:
            self._float64_failure = str(error)
            self._expected, self._original = own, self._eps * convolutions

    def check(self, optimized: nn.Module, growth: float) -> ModelError:
        """Return the optimized model's error, and the error that is allowed.

        A model carries the rounding errors of its layers to its output. If no layer's error is
        more than `growth` times torch's, the same is expected of their sum.
        """
        allowed = LEEWAY * growth * max(self._original, self._eps)
        error = self.error(call(optimized, self._inputs))
        return ModelError(self._original, error, allowed, self._float64_failure)

    def error(self, output: Any) -> float:
        """Return the largest relative error of all floating tensors of an output."""
        outputs = _floating(output)
        if [y.shape for y in outputs] != [y.shape for y in self._expected]:
            return float("inf")
        return max(map(_relative, outputs, self._expected), default=0.0)


def _widened(value: Any) -> Any:
    is_floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_floating else value


def _floating(output: Any) -> list[Tensor]:
    """Return the floating tensors of a nested output."""
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point() and leaf.numel()]


def _relative(y: Tensor, expected: Tensor) -> float:
    """Return max|y - expected| / max|expected|, or max|y| if all expected values are zero."""
    off = float((y.detach().double() - expected.detach()).abs().max())
    size = float(expected.abs().max()) or 1.0
    return float("inf") if math.isnan(off) else off / size


def validate_model(
    model: nn.Module, expected: ModelReference, validated: list[ValidatedLayer]
) -> tuple[list[ValidatedLayer], list[SkippedLayer], ModelError | None]:
    """Restore the layers with the largest errors until the whole model passes.

    Returns the layers that stay, the restored ones, and the model's error, if any layer stays.
    """
    stay, restored = list(validated), list[SkippedLayer]()

    def restore(layer: ValidatedLayer, reason: str) -> None:
        stay.remove(layer)
        choices = layers.dispatches(model)[layer.name].choices
        del choices[layer.call.key]
        if not choices:
            layers.restore(model.get_submodule(layer.name))
        restored.extend(SkippedLayer(name, layer.calls, reason) for name in layer.names)

    while stay:
        worst = max(stay, key=lambda one: one.error.growth)
        whole = expected.check(model, worst.error.growth)
        given_up = [x for x in stay if layers.dispatches(model)[x.name].is_given_up]
        for layer in given_up:
            restore(layer, "its output has another use at one of its calls")
        if given_up:
            continue
        if whole.passes:
            return stay, restored, whole
        off = f"off by {formatting.error(whole.optimized)}"
        limit = f"more than {formatting.error(whole.allowed)}"
        restore(worst, f"with {worst.choice.backend} the whole model is {off}, {limit}")
    return stay, restored, None
