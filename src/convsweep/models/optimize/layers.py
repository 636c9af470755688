"""Convolution modules that run on the chosen backend, or on torch's own convolution.

For inference. A call for which the choice was not measured falls back to torch; so does one in a
process forked from one that has prepared a backend, as thread pools do not survive a fork.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from threading import Lock
from typing import Any, NamedTuple, Never, Self

import psutil
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from convsweep import __version__
from convsweep.backends.base import Conv, Weights
from convsweep.backends.registry import list_backends, skip_reason
from convsweep.models.optimize.geometry import Geometry, Key, key_of, memory_formats
from convsweep.models.optimize.weight_snapshot import WeightSnapshot
from convsweep.problems.conv_call import dtype_name
from convsweep.problems.problem import ConvProblem
from convsweep.system.processor import cpu_name


@cache
def this_machine() -> tuple[str, ...]:
    """Return processor, logical cores, torch's version and convsweep's, as `best.csv` has them."""
    return cpu_name(), str(psutil.cpu_count()), version("torch"), __version__


@dataclass(frozen=True)
class BackendChoice:
    """Backend for one input of a module."""

    backend: str
    geometry: Geometry
    memory_format: str


class _Prepared(NamedTuple):
    """Convolutions that were prepared with the same weights."""

    weights: WeightSnapshot
    convs: dict[Key, Conv]


@dataclass
class Dispatch:
    """Backend choices of one module, and its prepared convolutions; safe to use from threads."""

    threads: int
    environment: tuple[str, ...]
    """Machine and versions that the choices were measured on."""
    choices: dict[Key, BackendChoice] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    """Number of calls per backend; for torch's own convolution, per reason."""
    _prepared: _Prepared | None = field(default=None, repr=False, compare=False)
    _preparing: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without prepared convolutions: a copy prepares its own weights."""
        kept = ("threads", "environment", "choices")
        return {name: self.__dict__[name] for name in kept} | {"calls": Counter()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state.

        Raises:
            ValueError: this is another machine or version.
        """
        if (now := this_machine()) != state["environment"]:
            raise ValueError(
                f"this model was optimized for {', '.join(state['environment'])}; this machine is "
                f"{', '.join(now)}: load its state_dict into the original and optimize that"
            )
        self.__dict__.update(state, _prepared=None, _preparing=Lock())

    def conv(self, module: Any, key: Key, choice: BackendChoice) -> Conv:
        """Return the prepared convolution; prepare it again if the weights have changed.

        Raises:
            ValueError: the backend is not available any more.
        """
        ready = self._prepared
        if ready is not None and key in ready.convs and ready.weights.matches(module):
            return ready.convs[key]
        with self._preparing:
            ready = self._prepared
            if ready is None or not ready.weights.matches(module):
                ready = self._prepared = _Prepared(WeightSnapshot.of(module), {})
            if key not in ready.convs:
                problem, weights = choice.geometry.problem, weights_of(module)
                ready.convs[key] = prepare(choice.backend, problem, weights, key)
            return ready.convs[key]

    def refresh(self) -> None:
        """Prepare again at the next call."""
        self._prepared = None


def weights_of(module: Any) -> Weights:
    """Return the module's weight and bias."""
    return Weights(module.weight.detach(), None if module.bias is None else module.bias.detach())


def prepare(name: str, problem: ConvProblem, weights: Weights, key: Key) -> Conv:
    """Return the backend's convolution; raise `ValueError` if the backend cannot run it."""
    if name not in list_backends():
        raise ValueError(f"there is no backend {name!r} here")
    backend, dtype = list_backends()[name], dtype_name(key[1])
    reason = skip_reason(backend, problem, weight_kind="dense", device=key[2], dtype=dtype)
    if reason is not None:
        raise ValueError(f"{name} {reason}")
    _preparing_process()
    return backend.prepare(problem, weights)


@cache
def _preparing_process() -> int:
    """Return the process that prepared the first backend; a forked process inherits the value."""
    return os.getpid()


class _DispatchingConv(nn.Module):
    """Mix-in for torch's convolution modules that selects the backend per call."""

    dispatch: Dispatch

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of `input` on the chosen backend."""
        choice = None if _is_traced(input) else _count_choice(self, input)
        if choice is None:
            y: Tensor = super().forward(input)
        else:
            conv = self.dispatch.conv(self, key_of(input), choice)
            y = conv(choice.geometry.padded(input))
        return y

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a change prepares again, since training may write weights unseen."""
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
        """Raise `ValueError`: `torch.jit.script` looks for this method."""
        raise ValueError(
            "torch.jit.script cannot take a model optimized by convsweep: script the original, or "
            "use torch.jit.trace"
        )


def _is_traced(x: Tensor) -> bool:
    """Return whether operators are being recorded, so that each has to be one of torch's."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return type(x) is not Tensor or torch.compiler.is_compiling() or bool(tracing)


def _count_choice(module: Any, x: Tensor) -> BackendChoice | None:
    """Return the choice for this call and count it; None for torch's own convolution."""
    dispatch: Dispatch = module.dispatch
    choice = dispatch.choices.get(key_of(x))
    if choice is None:
        reason: str | None = "another input"
    else:
        reason = _transform_reason(module, x) or _setting_reason(module, x, choice, dispatch)
    dispatch.calls[f"torch: {reason}" if choice is None or reason else choice.backend] += 1
    return None if reason else choice


def _transform_reason(module: Any, x: Tensor) -> str | None:
    """Return why this call computes more than an output from numbers, or None."""
    if module.training:
        return "training"
    if torch._C._are_functorch_transforms_active():
        return "transformed by torch.func"
    parameters = [p for p in (module.weight, module.bias) if p is not None]
    needs_grad = x.requires_grad or any(p.requires_grad for p in parameters)
    if forward_ad._current_level >= 0 or (torch.is_grad_enabled() and needs_grad):
        return "gradients are recorded"
    if type(module.weight) is not nn.Parameter:
        return "its weight is computed"
    if any(p.is_inference() for p in parameters):
        return "weights made in inference mode"
    return None


def _setting_reason(
    module: Any, x: Tensor, choice: BackendChoice, dispatch: Dispatch
) -> str | None:
    """Return how the setting of this call differs from the measured one, or None."""
    if torch.is_autocast_enabled(x.device.type):
        return "autocast"
    if torch.get_num_threads() != dispatch.threads:
        return "another number of threads"
    if module.weight.dtype != x.dtype or module.weight.device != x.device:
        return "weights of another dtype or device"
    if choice.memory_format not in memory_formats(x):
        return "another memory format"
    if _preparing_process() != os.getpid():
        return "a forked process"
    return None


class Conv1d(_DispatchingConv, nn.Conv1d):
    """`nn.Conv1d` on the backend chosen for its input."""


class Conv2d(_DispatchingConv, nn.Conv2d):
    """`nn.Conv2d` on the backend chosen for its input."""


class Conv3d(_DispatchingConv, nn.Conv3d):
    """`nn.Conv3d` on the backend chosen for its input."""


_REPLACEMENTS = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}


def unsupported_reason(module: nn.Module) -> str | None:
    """Return why a module that convolves cannot be replaced, or None."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "is transposed"
    kind = next((plain for plain in _REPLACEMENTS if isinstance(module, plain)), None)
    if kind is None:
        return "is called as a function, not as a module"
    if type(module) is not kind:
        return f"is a {type(module).__name__}, which may do more than {kind.__name__}"
    if not isinstance(module.weight, nn.Parameter):
        return "computes its weight at each call"
    if module.weight.is_inference():
        return "has weights made in inference mode, whose changes are not tracked"
    return None


def replace(module: nn.Module, dispatch: Dispatch) -> None:
    """Turn a plain convolution into a dispatching one; name, parameters and hooks stay."""
    module.__class__ = _REPLACEMENTS[type(module)]  # type: ignore[index]
    module.__dict__["dispatch"] = dispatch


def restore(module: nn.Module) -> None:
    """Turn a dispatching module into torch's own again."""
    plain = {ours: torchs for torchs, ours in _REPLACEMENTS.items()}
    module.__class__ = plain[type(module)]  # type: ignore[index]
    del module.dispatch


def dispatches(model: nn.Module) -> dict[str, Dispatch]:
    """Return the dispatch of each replaced module by its dotted name."""
    ours = tuple(_REPLACEMENTS.values())
    return {name: m.dispatch for name, m in model.named_modules() if isinstance(m, ours)}
