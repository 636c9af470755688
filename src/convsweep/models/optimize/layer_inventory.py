"""What a model convolves in one call: which modules, on which inputs, and what no module does."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convsweep.formatting import one_line
from convsweep.models.advise.conv_recorder import ModelTrace, Watch
from convsweep.models.advise.trace import as_written, calling
from convsweep.models.optimize.geometry import Key, geometry, key_of, memory_formats
from convsweep.models.optimize.layers import unsupported_reason
from convsweep.problems.problem import ConvProblem, Size


@dataclass(frozen=True)
class Example:
    """What a model is called with."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Any) -> Example:
        """One tensor, a sequence of positional arguments, or a mapping of keyword arguments."""
        if isinstance(inputs, Mapping):
            return cls((), inputs)
        return cls(tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,))

    def call(self, model: nn.Module) -> Any:
        """What the model gives; random numbers are the same at each call, and nobody else's."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return model(*self.arguments, **self.keywords)

    def in_float64(self) -> Example:
        """The same with every floating tensor in float64."""
        widened = [map_tensors(value) for value in self.arguments]
        return Example(tuple(widened), {k: map_tensors(v) for k, v in self.keywords.items()})


def map_tensors(value: Any) -> Any:
    """The value with the floating tensors that it is or holds in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(map_tensors, value))
    if isinstance(value, dict):
        return {key: map_tensors(part) for key, part in value.items()}
    return value


@dataclass(frozen=True)
class ConvCall:
    """One module on one input; as often as one call of the model does that."""

    name: str
    problem: ConvProblem
    key: Key
    memory_formats: tuple[str, ...]

    @property
    def dtype(self) -> str:
        """As torch spells it."""
        return str(self.key[1]).removeprefix("torch.")


@dataclass(frozen=True)
class Skipped:
    """Convolutions that stay torch's, and why."""

    name: str
    calls: int
    why: str


@dataclass
class Inventory:
    """Everything that one call of a model convolves."""

    executed: Counter[ConvCall] = field(default_factory=Counter)
    """What can be replaced, and how often it is called."""
    left: list[Skipped] = field(default_factory=list)

    @property
    def convolutions(self) -> int:
        """How many there are in one call."""
        return self.executed.total() + sum(one.calls for one in self.left)


def normals(model: nn.Module, shapes: Sequence[Size]) -> tuple[Tensor, ...]:
    """Seeded inputs of these shapes, in the model's own dtype and on its device."""
    tensors = [*model.parameters(), *model.buffers()]
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator).to(like) for shape in shapes)


def copied(model: nn.Module) -> nn.Module:
    """The model again, in evaluation mode; raises `ValueError` where it can't be copied."""
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:
        kind = type(model).__name__
        raise ValueError(f"{kind} can't be copied: {_told(error)}") from None


def inventory(model: nn.Module, example: Example) -> Inventory:
    """What `model`, a copy in evaluation mode, convolves when it is called.

    Raises:
        ValueError: in one line, where it can't take the inputs, or convolves nothing.
    """
    found, watched = Inventory(), ModelTrace(type(model).__name__)
    modules = {name.replace("_orig_mod.", ""): m for name, m in model.named_modules()}
    plain = {n for n, m in modules.items() if _convolves(m) and unsupported_reason(m) is None}
    with ExitStack() as stack:
        stack.enter_context(as_written())
        stack.enter_context(watching(modules, plain, partial(_note, found.executed)))
        names = stack.enter_context(calling(model))
        stack.enter_context(Watch(watched, names))
        call(model, example)
    found.left += _left(watched, modules, found.executed)
    if not found.executed and not found.left:
        raise ValueError(f"{watched.model} executes no convolution")
    return found


def call(model: nn.Module, example: Example) -> Any:
    """What the model gives; raises `ValueError`, in one line, where it can't take the inputs."""
    try:
        return example.call(model)
    except Exception as error:
        kind = type(model).__name__
        raise ValueError(f"{kind} can't take the inputs: {_told(error)}") from None


def _told(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _convolves(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)


@contextmanager
def watching(
    modules: Mapping[str, nn.Module], names: Sequence[str] | set[str], note: Any
) -> Iterator[None]:
    """Within, `note(name, module, input)` is called before each call of these modules."""

    def before(name: str, module: nn.Module, arguments: Any, keywords: Any) -> None:
        x = arguments[0] if arguments else keywords.get("input")
        if isinstance(x, Tensor):
            note(name, module, x)

    with ExitStack() as stack:
        for name in names:
            hook = partial(before, name)
            own = modules[name].register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(own.remove)
        yield


def _note(found: Counter[ConvCall], name: str, module: nn.Module, x: Tensor) -> None:
    own = geometry(module, x.shape)
    if own is not None:
        found[ConvCall(name, own.problem, key_of(x), tuple(memory_formats(x)))] += 1


def _left(
    watched: ModelTrace, modules: Mapping[str, nn.Module], executed: Counter[ConvCall]
) -> list[Skipped]:
    """What was dispatched beyond the calls of plain modules."""
    seen = Counter(one.module for one in watched.convolutions)
    for one, calls in executed.items():
        seen[one.name] -= calls
    reasons = Counter({(name, _why(modules, name, executed)): n for name, n in seen.items()})
    reasons.update((one.module, one.why) for one in watched.unmeasured)
    return [Skipped(name, calls, why) for (name, why), calls in reasons.items() if calls > 0]


def _why(modules: Mapping[str, nn.Module], name: str, executed: Counter[ConvCall]) -> str:
    module = modules.get(name)
    if module is None:
        return "is compiled"
    if reason := unsupported_reason(module):
        return reason
    return "is called on an input without a batch dimension"
