"""Convolutions that one call of a model executes: replaceable modules, and all others."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from convsweep.models.advise.conv_recorder import ModelTrace, recording
from convsweep.models.advise.trace import module_names, tensors_of
from convsweep.models.optimize.geometry import Geometry, Key, geometry, key_of, memory_formats
from convsweep.models.optimize.layers import unsupported_reason
from convsweep.problems.conv_call import dtype_name
from convsweep.problems.problem import ConvProblem, Size
from convsweep.problems.user_code import UserCodeError, eager, uncompiled, user_code

_UNUSUAL = "is called on an input without a batch dimension, or under torch.func"


@dataclass(frozen=True)
class ModelInputs:
    """Arguments of one call of a model."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Any) -> ModelInputs:
        """Take a tensor, a sequence of positional arguments, or a mapping of keyword arguments."""
        inputs = tree_map(_with_version, inputs)
        if isinstance(inputs, Mapping):
            return cls((), inputs)
        return cls(tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,))

    def call(self, model: nn.Module) -> Any:
        """Return the model's output; random numbers are the same at each call."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.pass_to(model)

    def pass_to(self, model: Callable[..., Any]) -> Any:
        """Return the output of a model, or of another function of the arguments."""
        return model(*self.arguments, **self.keywords)

    def mapped(self, function: Callable[[Any], Any]) -> ModelInputs:
        """Return the arguments with a function applied to every tensor and other leaf."""
        return ModelInputs(*tree_map(function, (self.arguments, dict(self.keywords))))


def _with_version(value: Any) -> Any:
    """Return a copy of a tensor made in inference mode, whose changes torch does not count."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@dataclass(frozen=True)
class ConvCall:
    """One module on one input."""

    name: str
    problem: ConvProblem
    key: Key
    memory_formats: tuple[str, ...]

    @property
    def dtype(self) -> str:
        """Name of the dtype in torch."""
        return dtype_name(self.key[1])


@dataclass(frozen=True)
class SkippedLayer:
    """Convolutions that stay on torch, with the reason."""

    name: str
    calls: int
    reason: str


@dataclass
class Inventory:
    """Convolutions of one call of a model."""

    calls: Counter[ConvCall] = field(default_factory=Counter)
    """Replaceable ones, with their number of calls."""
    skipped: list[SkippedLayer] = field(default_factory=list)

    @property
    def convolutions(self) -> int:
        """Number of convolutions in one call."""
        return self.calls.total() + sum(layer.calls for layer in self.skipped)


def normal_inputs(model: nn.Module, shapes: Sequence[Size]) -> tuple[Tensor, ...]:
    """Return seeded normal inputs in the model's dtype, on its device."""
    own = (t for t in tensors_of(model) if t.is_floating_point() or t.is_complex())
    like = next(own, torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator).to(like) for shape in shapes)


def copy_model(model: nn.Module, shares_tensors: bool = False) -> nn.Module:
    """Return an uncompiled copy in evaluation mode; raise `ValueError` if it cannot be copied."""
    kept = {id(one): one for one in tensors_of(model)} if shares_tensors else {}
    try:
        with user_code():
            return uncompiled(copy.deepcopy(model, kept)).eval()
    except UserCodeError as error:
        raise ValueError(f"{type(model).__name__} cannot be copied: {error}") from None


def inventory(model: nn.Module, inputs: ModelInputs) -> Inventory:
    """Return the convolutions of one call of `model`, a copy in evaluation mode.

    Raises:
        ValueError: the model cannot take the inputs, or executes no convolution.
    """
    found, trace = Inventory(), ModelTrace(type(model).__name__)
    modules = dict(model.named_modules())
    plain = {name for name, module in modules.items() if unsupported_reason(module) is None}

    def count(layer: ConvCall, geometry: Geometry, module: nn.Module, x: Tensor) -> None:
        found.calls[layer] += 1

    with (
        eager(),
        on_conv_calls(modules, plain, count),
        module_names(model) as names,
        recording(trace, names),
    ):
        call(model, inputs, shown=True)
    found.skipped += _skipped_layers(trace, modules, found.calls)
    if not found.calls and not found.skipped:
        raise ValueError(f"{trace.model} executes no convolution")
    return found


def call(model: nn.Module, inputs: ModelInputs, shown: bool = False) -> Any:
    """Return the model's output; raise `ValueError` if it cannot take the inputs.

    What it prints goes to stderr if `shown`, else nowhere.
    """
    try:
        with user_code(shown):
            return inputs.call(model)
    except UserCodeError as error:
        raise ValueError(f"{type(model).__name__} cannot take the inputs: {error}") from None


@contextmanager
def on_conv_calls(
    modules: Mapping[str, nn.Module],
    names: Collection[str],
    notify: Callable[[ConvCall, Geometry, nn.Module, Tensor], None],
) -> Iterator[None]:
    """Within, call `notify` before each call of these convolutions that a problem describes."""

    def before(name: str, module: nn.Module, arguments: Any, keywords: Any) -> None:
        x = arguments[0] if arguments else keywords.get("input")
        is_plain = isinstance(x, Tensor) and not torch._C._are_functorch_transforms_active()
        own = geometry(module, x) if is_plain else None
        if own is not None:
            layer = ConvCall(name, own.problem, key_of(x), tuple(memory_formats(x)))
            notify(layer, own, module, x)

    with ExitStack() as stack:
        for name in names:
            hook = partial(before, name)
            stack.enter_context(modules[name].register_forward_pre_hook(hook, with_kwargs=True))
        yield


def _skipped_layers(
    trace: ModelTrace, modules: Mapping[str, nn.Module], calls: Counter[ConvCall]
) -> list[SkippedLayer]:
    """Return what was dispatched beyond the calls of plain modules."""
    others = Counter(conv.module for conv in trace.convolutions)
    for layer, number in calls.items():
        others[layer.name] -= number
    reasons = Counter(
        {(name, unsupported_reason(modules[name]) or _UNUSUAL): n for name, n in others.items()}
    )
    reasons.update((conv.module, conv.reason) for conv in trace.unmeasured)
    return [SkippedLayer(name, n, reason) for (name, reason), n in reasons.items() if n > 0]
