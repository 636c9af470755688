"""Correctness gate of an optimized model: each layer on its real input, then the whole model."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convsweep import formatting
from convsweep.backends.base import Weights
from convsweep.backends.registry import list_backends
from convsweep.formatting import error_line
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import Reference, allowed_error, compute_reference
from convsweep.models.optimize import layers
from convsweep.models.optimize.deferred import NO_EPILOGUE, Epilogue
from convsweep.models.optimize.dispatch import (
    BackendChoice,
    Dispatch,
    layer_of,
    prepare,
    this_machine,
)
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
    bound: float
    """Error bound of the backend for the problem."""
    torch_error_ratio: float
    relative_err: float
    """max|y - reference| / max|reference|."""

    @property
    def growth(self) -> float:
        """Error relative to torch's own; at least 1."""
        # No output is expected to be closer to the reference than its own rounding.
        return max(1.0, self.error_ratio / max(self.torch_error_ratio, 0.5))


@dataclass(frozen=True)
class ValidatedLayer:
    """One module on one input that passed the gate with a chosen backend."""

    call: ConvCall
    calls: int
    """Number of calls in one forward pass."""
    choice: LayerBackend
    error: LayerError
    geometry: Geometry
    has_norm: bool = False
    """Whether the batch norm that follows is folded into its weights."""
    has_relu: bool = False
    """Whether it computes the ReLU that follows."""

    @property
    def name(self) -> str:
        """Dotted name of the module."""
        return self.call.name

    @property
    def saving_s(self) -> float:
        """Seconds saved by all calls, expected from the speedup of the layer alone."""
        return self.calls * self.choice.median_s * (self.choice.speedup.value - 1)


def validate_layers(
    model: nn.Module,
    inputs: ModelInputs,
    choices: Mapping[ConvCall, LayerBackend],
    calls: Mapping[ConvCall, int],
    epilogues: Mapping[str, Epilogue],
    max_error: float | None,
) -> tuple[list[ValidatedLayer], list[SkippedLayer]]:
    """Check every chosen backend on its layer's real input, in one call of the original model.

    A layer includes the batch norm and the ReLU that it is to compute.

    Errors must be within the backends' own bounds, and relative errors within `max_error` if it is
    given. Returns the layers that passed and the layers that failed, in the model's order.
    """
    found: dict[ConvCall, ValidatedLayer | SkippedLayer] = {}

    def validate(layer: ConvCall, own: Geometry, module: nn.Module, x: Tensor) -> None:
        if layer in choices and layer not in found:
            after = epilogues.get(layer.name, NO_EPILOGUE)
            error = _layer_error(module, own, x, choices[layer].backend, after, max_error)
            parts = (own, after.norm is not None, after.relu)
            found[layer] = (
                SkippedLayer(layer.name, calls[layer], error)
                if isinstance(error, str)
                else ValidatedLayer(layer, calls[layer], choices[layer], error, *parts)
            )

    with on_conv_calls(dict(model.named_modules()), {layer.name for layer in choices}, validate):
        call(model, inputs)
    passed = [layer for layer in found.values() if isinstance(layer, ValidatedLayer)]
    return passed, [layer for layer in found.values() if isinstance(layer, SkippedLayer)]


def _layer_error(
    module: Any, own: Geometry, x: Tensor, name: str, after: Epilogue, max_error: float | None
) -> LayerError | str:
    """Check a backend against the float64 reference; return its error, or why it fails."""
    # The gate checks whether inputs and weights are written to: these are copies.
    exact, x = layer_of(copy.deepcopy(module), own.problem, after), own.padded(x).clone()
    problem, key, backend = exact.problem, key_of(x), list_backends()[name]
    layer = exact.rounded(x.dtype)
    inputs = Inputs(x, Weights(layer.weight, layer.bias))
    try:
        expected = compute_reference(problem, Inputs(x, Weights(exact.weight, exact.bias)))
        expected = _after_relu(expected) if after.relu else expected
        bound = allowed_error(
            backend, backend.error_bound(problem), x.dtype, expected, problem.taps
        )
        found = check(prepare(name, layer, key), inputs, output(expected, bound))
    except Exception as error:
        return f"{name} fails on its input: {error_line(error)}"
    if found.reason:
        return f"{name} is wrong on its input: {found.reason}"
    relative = found.relative_err or 0.0
    if max_error is not None and relative > max_error:
        return f"{name} has a relative error of {relative:.2g} on its input, above {max_error:g}"
    baseline = prepare(BASELINE, layer, key)
    torchs = check(baseline, inputs, output(expected, float("inf"))).error_ratio
    return LayerError(found.error_ratio or 0.0, bound, torchs or 0.0, relative)


def _after_relu(expected: Reference) -> Reference:
    negated = -expected.y if expected.negated is None else expected.negated
    return replace(expected, y=expected.y.clamp(min=0), negated=negated.clamp(min=0))


def install(
    model: nn.Module,
    validated: list[ValidatedLayer],
    epilogues: Mapping[str, Epilogue],
    threads: int,
) -> None:
    """Replace the modules of the validated layers."""
    modules = dict(model.named_modules())
    dispatches: dict[str, Dispatch] = {}
    for one in validated:
        name, choice = one.name, one.choice
        if name not in dispatches:
            after = epilogues.get(name, NO_EPILOGUE)
            dispatches[name] = Dispatch(threads, this_machine(), epilogue=after)
            layers.replace(modules[name], dispatches[name])
        dispatches[name].choices[one.call.key] = BackendChoice(
            choice.backend, one.geometry, choice.memory_format
        )


def uninstall(model: nn.Module, layer: ValidatedLayer, reason: str) -> SkippedLayer:
    """Let torch compute an installed layer again."""
    choices = layers.dispatches(model)[layer.name].choices
    del choices[layer.call.key]
    if not choices:
        layers.restore(model.get_submodule(layer.name))
    return SkippedLayer(layer.name, layer.calls, reason)


class ModelError(NamedTuple):
    """Errors of whole models: max|y - reference| / max|reference|.

    The reference is the original in float64; in its own dtype if it cannot run in float64.
    """

    original: float
    """If it cannot run in float64: one rounding error per convolution of one call."""
    optimized: float
    allowed: float
    float64_failure: str = ""
    """Why the original cannot run in float64."""

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
    off = float((y.double() - expected).abs().max())
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
        restored.append(uninstall(model, layer, reason))

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
