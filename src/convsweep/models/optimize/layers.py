"""Convolutions of a model that run on a backend where that was measured, on torch's elsewhere.

For inference. A call runs torch's own convolution while the module is in training mode, gradients
are recorded, forwards or backwards, or the model is traced, compiled or transformed by
`torch.func`; under autocast; in a process forked from one that has prepared a backend, since pools
of threads don't survive that; and where the input's shape, dtype, device or memory format, or
torch's number of threads, is not one that was measured.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, Never, Self

from torch import Tensor, nn

from convsweep.backends.base import Conv, Weights
from convsweep.backends.registry import list_backends, skip_reason
from convsweep.models.optimize.fallback import fallback_reason, is_traced, preparing_process
from convsweep.models.optimize.geometry import Geometry, Key, key_of
from convsweep.models.optimize.machine import here
from convsweep.models.optimize.weight_guard import WeightSnapshot
from convsweep.problems.problem import ConvProblem


@dataclass(frozen=True)
class Choice:
    """What one input of a module runs on."""

    backend: str
    geometry: Geometry
    memory_format: str


class _Ready(NamedTuple):
    """Convolutions that were prepared with the same weights."""

    weights: WeightSnapshot
    convs: dict[Key, Conv]


@dataclass
class Dispatch:
    """What a module runs on which input, and what it ran so far; threads may share it."""

    threads: int
    environment: tuple[str, ...]
    """The machine and versions that the choices hold for."""
    choices: dict[Key, Choice] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each backend ran; torch's own convolution by why it did."""
    _ready: _Ready | None = field(default=None, repr=False, compare=False)
    _preparing: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """All but what is prepared: a copy prepares its own weights at its first call."""
        kept = ("threads", "environment", "choices")
        return {name: self.__dict__[name] for name in kept} | {"calls": Counter()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it up again, where the choices hold.

        Raises:
            ValueError: this is another machine or version; a model's state_dict goes anywhere.
        """
        if (now := here()) != state["environment"]:
            was = ", ".join(state["environment"])
            raise ValueError(
                f"this model was optimized for {was}; here is {', '.join(now)}: load its "
                "state_dict into the original and optimize that"
            )
        self.__dict__.update(state, _ready=None, _preparing=Lock())

    def conv(self, module: Any, key: Key, choice: Choice) -> Conv:
        """The prepared convolution; prepared again where the weights have changed since.

        Raises:
            ValueError: the backend is not there any more.
        """
        ready = self._ready
        if ready is not None and key in ready.convs and ready.weights.holds(module):
            return ready.convs[key]
        with self._preparing:
            ready = self._ready
            if ready is None or not ready.weights.holds(module):
                ready = self._ready = _Ready(WeightSnapshot.of(module), {})
            if key not in ready.convs:
                problem, weights = choice.geometry.problem, weights_of(module)
                ready.convs[key] = prepared(choice.backend, problem, weights, key)
            return ready.convs[key]

    def refresh(self) -> None:
        """Prepare again at the next call."""
        self._ready = None


def weights_of(module: Any) -> Weights:
    """What the module has learnt."""
    return Weights(module.weight.detach(), None if module.bias is None else module.bias.detach())


def prepared(name: str, problem: ConvProblem, weights: Weights, key: Key) -> Conv:
    """The backend with these weights; raises `ValueError` where it can't take part."""
    if name not in list_backends():
        raise ValueError(f"there is no backend {name!r} here")
    dtype = str(key[1]).removeprefix("torch.")
    backend = list_backends()[name]
    why = skip_reason(backend, problem, weight_kind="dense", device=key[2], dtype=dtype)
    if why is not None:
        raise ValueError(f"{name} {why}")
    preparing_process()
    return backend.prepare(problem, weights)


class _Dispatching(nn.Module):
    """The half of a module that decides; the other half is torch's own class."""

    dispatch: Dispatch

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of `input`, on whatever was chosen for it."""
        choice = None if is_traced(input) else _chosen(self, input)
        if choice is None:
            y: Tensor = super().forward(input)
        else:
            conv = self.dispatch.conv(self, key_of(input), choice)
            y = conv(choice.geometry.padded(input))
        return y

    def train(self, mode: bool = True) -> Self:
        """Torch's own; a switch prepares again, as training may write where torch can't see."""
        if mode != self.training:
            self.dispatch.refresh()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.dispatch.refresh()
        return super()._apply(*args, **kwargs)  # type: ignore[no-any-return, no-untyped-call]

    def _load_from_state_dict(self, *args: Any) -> None:
        self.dispatch.refresh()
        super()._load_from_state_dict(*args)

    def __prepare_scriptable__(self) -> Never:
        """Refuse `torch.jit.script`, which looks for this."""
        raise ValueError(
            "torch.jit.script can't take a model that convsweep has optimized, whose layers are "
            "no TorchScript: script the original, or use torch.jit.trace"
        )


def _chosen(module: Any, x: Tensor) -> Choice | None:
    """What this call runs on, counted; None is torch's own."""
    own: Dispatch = module.dispatch
    choice = own.choices.get(key_of(x))
    why = (
        "another input"
        if choice is None
        else fallback_reason(module, x, choice.memory_format, own.threads)
    )
    if choice is None or why is not None:
        own.calls[f"torch: {why}"] += 1
        return None
    own.calls[choice.backend] += 1
    return choice


class Conv1d(_Dispatching, nn.Conv1d):
    """`nn.Conv1d` that runs on the backend that was chosen for its input."""


class Conv2d(_Dispatching, nn.Conv2d):
    """`nn.Conv2d` that runs on the backend that was chosen for its input."""


class Conv3d(_Dispatching, nn.Conv3d):
    """`nn.Conv3d` that runs on the backend that was chosen for its input."""


_REPLACING = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}


def unsupported_reason(module: nn.Module) -> str | None:
    """Why a module that convolves can't be replaced, in words, or None."""
    kind = next((plain for plain in _REPLACING if isinstance(module, plain)), None)
    if kind is None:
        return "is called as a function, not as a module"
    if type(module) is not kind:
        return f"is a {type(module).__name__}, which may do more than {kind.__name__}"
    if not isinstance(module.weight, nn.Parameter):
        return "computes its weight at each call"
    if module.weight.is_inference():
        return "has weights that were made in inference mode, whose changes can't be seen"
    return None


def replace(module: nn.Module, dispatch: Dispatch) -> None:
    """Let a plain convolution run on other backends; name, parameters and hooks stay its own."""
    module.__class__ = _REPLACING[type(module)]  # type: ignore[index]
    module.__dict__["dispatch"] = dispatch


def restore(module: nn.Module) -> None:
    """Make a replaced module torch's own again."""
    kind = {ours: torchs for torchs, ours in _REPLACING.items()}
    module.__class__ = kind[type(module)]  # type: ignore[index]
    del module.dispatch


def replaced(model: nn.Module) -> dict[str, Dispatch]:
    """What each replaced module runs, by its dotted name."""
    ours = tuple(_REPLACING.values())
    return {name: m.dispatch for name, m in model.named_modules() if isinstance(m, ours)}
