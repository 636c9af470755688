"""Backend choices of a convolution module, and the convolutions prepared from its weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from math import gcd
from threading import Lock
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from convsweep import __version__
from convsweep.backends.base import BatchNorm, Conv, GraphLayer, Weights
from convsweep.backends.blocks import folded, layer_by_layer
from convsweep.backends.registry import list_backends, skip_reason
from convsweep.models.optimize.deferred import NO_EPILOGUE, Epilogue, norm_tensors
from convsweep.models.optimize.geometry import Geometry, Key
from convsweep.problems.conv_call import dtype_name
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import standard_problem
from convsweep.system.processor import cpu_name

_COMPARED_WHOLE = 4096  # Up to this number of elements all are compared; of more, a sample
_SAMPLED = 256
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By element size: as integers, a NaN equals itself."""


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


class WeightSnapshot(NamedTuple):
    """Address and version of tensors, and sampled elements of the first ones.

    Torch counts most writes, and a replaced or moved tensor has another address. Writes through
    `.data` or NumPy are not counted: on the CPU a sample of the elements is compared, on other
    devices nothing, since each call would wait for the device.
    """

    stamps: list[int]  # Address and version of each
    views: tuple[Tensor, ...]  # Of them; these also keep the memory from being reused
    compared: tuple[tuple[Tensor, Tensor], ...]  # First views and their copies, on the CPU

    @classmethod
    def of(cls, tensors: Sequence[Tensor], compared: int) -> WeightSnapshot:
        """Return a snapshot of tensors, the first of which are `compared`."""
        views = tuple(_sample(tensor.detach()) for tensor in tensors)
        pairs = tuple((view, view.clone()) for view in views[:compared] if view.is_cpu)
        return cls(stamps_of(tensors), views, pairs)

    def matches(self, stamps: list[int]) -> bool:
        """Return whether tensors with these stamps are unchanged, as far as that is detected."""
        if stamps != self.stamps:
            return False
        for view, kept in self.compared:  # noqa: SIM110 - a generator takes longer
            if not torch.equal(view, kept):
                return False
        return True


def stamps_of(tensors: Sequence[Tensor]) -> list[int]:
    """Return address and version of each; empty if one is an inference tensor: it has none."""
    found: list[int] = []
    try:
        for tensor in tensors:
            found += tensor.data_ptr(), tensor._version
    except RuntimeError:
        return []
    return found


def _sample(values: Tensor) -> Tensor:
    """Return a view of some elements; of all if they are few or not dense."""
    bits = values.view(_BITS[values.element_size()])
    dense = bits.permute(sorted(range(bits.dim()), key=bits.stride, reverse=True))
    count = bits.numel()
    if count <= _COMPARED_WHOLE or not dense.is_contiguous():
        return bits
    # A step coprime to the size meets every tap of every channel in turn.
    step = next(n for n in range(count // _SAMPLED, 0, -1) if gcd(n, count) == 1)
    return dense.view(-1)[::step]


class _Prepared(NamedTuple):
    """Convolutions that were prepared with the same weights."""

    weights: WeightSnapshot
    eps: list[float]  # Of the batch norms
    convs: dict[Key, Conv]


@dataclass
class Dispatch:
    """Backend choices of one module, and its prepared convolutions; safe to use from threads."""

    threads: int
    environment: tuple[str, ...]  # Machine and versions that the choices were measured on
    choices: dict[Key, BackendChoice] = field(default_factory=dict)
    epilogue: Epilogue = NO_EPILOGUE
    is_given_up: bool = False  # Whether the output had a use that is not in the epilogue
    calls: Counter[str] = field(default_factory=Counter)
    """Number of calls per backend; for torch's own convolution, per reason."""
    _prepared: _Prepared | None = field(default=None, repr=False, compare=False)
    _preparing: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without prepared convolutions: a copy prepares its own weights."""
        kept = ("threads", "environment", "choices", "epilogue", "is_given_up")
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

    def conv(
        self,
        module: Any,
        key: Key,
        choice: BackendChoice,
        tensors: Sequence[Tensor],
        stamps: list[int],
    ) -> Conv:
        """Return the prepared convolution; prepare it again if the stamps of `tensors` changed.

        Raises:
            ValueError: the backend is not available any more.
        """
        ready, epilogue = self._prepared, self.epilogue
        eps = [norm.eps for norm in epilogue.norms]
        if ready is not None and ready.eps == eps and ready.weights.matches(stamps):
            conv = ready.convs.get(key)
            if conv is not None:
                return conv
        convs = [one for one in (module, epilogue.pointwise) if one is not None]
        own = sum(1 + (one.bias is not None) for one in convs)  # tensors of the convolutions
        with self._preparing:
            ready = self._prepared
            if ready is None or ready.eps != eps or not ready.weights.matches(stamps):
                ready = self._prepared = _Prepared(WeightSnapshot.of(tensors, own), eps, {})
            if key not in ready.convs:
                layers = layers_of(module, choice.geometry.problem, epilogue)
                ready.convs[key] = prepare(choice.backend, layers, key)
            return ready.convs[key]

    def refresh(self) -> None:
        """Prepare again at the next call."""
        self._prepared = None


def layers_of(module: Any, problem: ConvProblem, epilogue: Epilogue) -> list[GraphLayer]:
    """Return a convolution, and a 1x1 one that follows; batch norms are folded in float64."""
    layers = [_layer(module, problem)]
    for step in epilogue.steps:
        last = layers[-1]
        if isinstance(step, float):
            layers[-1] = last._replace(relu=step)
        elif step is epilogue.pointwise:
            layers.append(_layer(step, _pointwise_problem(step, last.problem)))
        else:
            layers[-1] = _folded(last, step)
    return layers


def _layer(module: Any, problem: ConvProblem) -> GraphLayer:
    bias = None if module.bias is None else module.bias.detach()
    return GraphLayer(problem, module.weight.detach(), bias)


def _pointwise_problem(module: Any, before: ConvProblem) -> ConvProblem:
    return ConvProblem(
        module.in_channels,
        module.out_channels,
        before.output_size,
        1,
        batch_size=before.batch_size,
        bias=module.bias is not None,
    )


def _folded(layer: GraphLayer, norm: Any) -> GraphLayer:
    own = [None if t is None else t.detach().double() for t in norm_tensors(norm)]
    mean, variance, gamma, beta = own
    assert mean is not None
    assert variance is not None
    gamma = torch.ones_like(mean) if gamma is None else gamma
    beta = torch.zeros_like(mean) if beta is None else beta
    return folded(layer._replace(norm=BatchNorm(gamma, beta, mean, variance)), norm.eps)


def computed_problem(layers: Sequence[GraphLayer]) -> ConvProblem:
    """Return the problem of one convolution, or the one that a depthwise and a 1x1 replace."""
    first, *others = (layer.problem for layer in layers)
    return standard_problem(first, *others) if others else first


def prepare(name: str, layers: Sequence[GraphLayer], key: Key) -> Conv:
    """Return the backend's convolution, or its depthwise and pointwise one.

    Raises:
        ValueError: the backend cannot run it.
    """
    if name not in list_backends():
        raise ValueError(f"there is no backend {name!r} here")
    backend, dtype, problem = list_backends()[name], dtype_name(key[1]), computed_problem(layers)
    kind = "dense" if len(layers) == 1 else "separable"
    reason = skip_reason(backend, problem, weight_kind=kind, device=key[2], dtype=dtype)
    if reason is not None:
        raise ValueError(f"{name} {reason}")
    preparing_process()
    layers = [layer.rounded(key[1]) for layer in layers]
    if len(layers) == 1 and not layers[0].relu:
        return backend.prepare(problem, Weights(layers[0].weight, layers[0].bias))
    return (backend.prepare_block or partial(layer_by_layer, backend.prepare))(layers)


@cache
def preparing_process() -> int:
    """Return the process that prepared the first backend; a forked process inherits the value."""
    return os.getpid()
