"""Outputs of convolutions that also compute what follows them: batch norm, ReLU, a 1x1 convolution.

Such a convolution returns an empty tensor. What follows takes it step by step, and the last step
returns the result. Any other use gets the numbers that PyTorch has at this point, computed then,
and ends this for the convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

_EMPTY = torch.empty(0, device="meta")
_OF: Any = Tensor
METADATA: dict[Any, str] = {
    _OF.dim: "dim",
    _OF.size: "size",
    _OF.shape.__get__: "shape",
    _OF.ndim.__get__: "ndim",
    _OF.dtype.__get__: "dtype",
    _OF.device.__get__: "device",
}
"""Functions that depend on the shape, dtype and device alone, and their names."""
_HARDTANH = (functional.hardtanh, functional.hardtanh_)
_RELU_IN_PLACE = (functional.relu_, torch.relu_, Tensor.relu_)
_RELU = (functional.relu, torch.relu, Tensor.relu, *_RELU_IN_PLACE)
_IN_PLACE = (functional.hardtanh_, *_RELU_IN_PLACE)


def relu_bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    """Return the upper bound of a call of ReLU or ReLU6; None for another function."""
    if func in _RELU:
        return math.inf
    if func is functional.relu6:
        return 6.0
    return _bound(*_hardtanh_call(*args, **kwargs)) if func in _HARDTANH else None


def _hardtanh_call(
    input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[float, float]:
    return min_val, max_val


def _bound(low: float, high: float) -> float | None:
    return float(high) if low == 0 < high else None


def module_bound(module: Any) -> float | None:
    """Return the upper bound of a module that is ReLU or ReLU6; None for another one."""
    if isinstance(module, nn.ReLU6):
        return _bound(module.min_val, module.max_val)
    return math.inf if isinstance(module, nn.ReLU) else None


def norm_call(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[tuple[Any, ...], bool, float]:  # fmt: skip
    """Return tensors, mode and eps of a call of `batch_norm`."""
    return (running_mean, running_var, weight, bias), training, eps


def norm_tensors(norm: Any) -> tuple[Any, ...]:
    """Return running mean, running variance, weight and bias of a batch norm."""
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


def is_norm(module: Any) -> bool:
    """Return whether a module is a batch norm."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def is_pointwise(conv: Any) -> bool:
    """Return whether a module is a 2-D convolution of each pixel alone, in one group."""
    sizes = (conv.kernel_size, conv.stride, conv.groups, conv.padding)
    return isinstance(conv, nn.Conv2d) and sizes == ((1, 1), (1, 1), 1, (0, 0))


Step: TypeAlias = nn.Module | float
"""Batch norm in evaluation mode, 1x1 convolution, or upper bound of a ReLU."""


def is_step(step: Step, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call computes a step."""
    if isinstance(step, float):
        return relu_bound(func, args, kwargs) == step
    own: Any = step
    if isinstance(own, nn.Conv2d):
        weights = (own.weight, own.bias)
        how = (own.stride, own.padding, own.dilation, own.groups)
        is_own = all(one is other for one, other in zip(args[1:3], weights, strict=False))
        return func is torch.conv2d and is_own and tuple(args[3:]) == how
    if func is not functional.batch_norm:
        return False
    tensors, training, eps = norm_call(*args, **kwargs)
    is_own = all(one is own for one, own in zip(tensors, norm_tensors(own), strict=True))
    return is_own and not training and eps == own.eps


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution at each of its calls."""

    steps: tuple[Step, ...] = ()

    @cached_property
    def modules(self) -> list[nn.Module]:
        """Batch norms and 1x1 convolutions."""
        return [one for one in self.steps if isinstance(one, nn.Module)]

    @cached_property
    def norms(self) -> list[Any]:
        """Batch norms."""
        return [one for one in self.steps if is_norm(one)]

    @cached_property
    def pointwise(self) -> Any:
        """1x1 convolution after a depthwise one, or None."""
        return next((one for one in self.steps if isinstance(one, nn.Conv2d)), None)

    @property
    def own(self) -> Epilogue:
        """The steps before the 1x1 convolution."""
        if self.pointwise is None:
            return self
        return Epilogue(self.steps[: self.steps.index(self.pointwise)])

    @property
    def relus(self) -> int:
        """Number of ReLUs."""
        return sum(isinstance(one, float) for one in self.steps)


NO_EPILOGUE = Epilogue()


class FusedCall(NamedTuple):
    """One call of a convolution with its epilogue."""

    dispatch: Any  # Has the epilogue; is given up at a use that is none of the steps
    x: Tensor
    y: Tensor  # The result of all steps
    convolve: Callable[[Tensor], Tensor]  # PyTorch's own convolution
    version: int | None  # Of x; None for inference tensors
    has_changed: Callable[[], bool]
    """Returns whether a weight or a statistic is another one than at the call."""

    def after(self, steps: int) -> Tensor:
        """Return PyTorch's numbers after some of the steps.

        Raises:
            RuntimeError: x, a weight or a statistic may have been overwritten since.
        """
        self.dispatch.is_given_up = True
        if self.version is None or self.x._version != self.version or self.has_changed():
            raise RuntimeError(
                "the output of an optimized convolution is used in another way than when the model "
                "was optimized, and its input or weights may have changed since; call the model "
                "again, this convolution is PyTorch's from now on"
            )
        y = self.convolve(self.x)
        for step in self.dispatch.epilogue.steps[:steps]:
            y = _after(step, y)
        return y


def _after(step: Any, y: Tensor) -> Tensor:
    """Return the numbers after a step."""
    if isinstance(step, float):
        return y.clamp(0, step)
    if isinstance(step, nn.Conv2d):
        return step._conv_forward(y, step.weight, step.bias)  # type: ignore[no-any-return]
    mean, variance, gamma, beta = norm_tensors(step)
    return functional.batch_norm(y, mean, variance, gamma, beta, eps=step.eps)


class Deferred(Tensor):
    """Tensor without data, in place of the output of a convolution or of its batch norm."""

    call: FusedCall
    step: int  # Number of steps before it
    is_taken = False
    """Whether the next step has taken it."""
    known: Tensor | None = None  # The numbers, once something has used them

    @classmethod
    def of(cls, call: FusedCall, step: int) -> Deferred:
        """Return the output after some steps, not all."""
        self: Deferred = Tensor._make_subclass(cls, _EMPTY)
        self.call, self.step = call, step
        return self

    @property
    def like(self) -> Tensor:
        """Tensor of its shape, dtype and device."""
        for step in self.call.dispatch.epilogue.steps[self.step :]:
            if isinstance(step, nn.Conv2d):
                return self.call.y[:, :1].expand(-1, step.in_channels, -1, -1)
        return self.call.y

    def is_next(self, module: Any, skipped: int = 0) -> bool:
        """Return whether a module is the next step, or the one after some more steps."""
        steps, index = self.call.dispatch.epilogue.steps, self.step + skipped
        if self.is_taken or self.known is not None or index == len(steps):
            return False
        step = steps[index]
        if isinstance(step, float):
            return module_bound(module) == step
        return module is step and (not module.training or isinstance(module, nn.Conv2d))

    def after(self, modules: Sequence[Any]) -> Tensor:
        """Return the output of modules that are the next steps."""
        if not modules:
            return self
        return self._advanced(len(modules), getattr(modules[0], "inplace", False))

    def _advanced(self, steps: int, in_place: bool) -> Tensor:
        """Return the output after some more steps; the first one may overwrite its input."""
        call, step = self.call, self.step + steps
        self.is_taken = True
        # After the last step, the result itself.
        y = call.y if step == len(call.dispatch.epilogue.steps) else Deferred.of(call, step)
        if in_place:
            self.known = y
        return y

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Take a step, or call the function with PyTorch's numbers."""
        kwargs = kwargs or {}
        first = args[0] if args else kwargs.get("input")
        if isinstance(first, Deferred) and first.known is None:
            call, step = first.call, first.step
            if func in METADATA:
                own = getattr(first.like, METADATA[func])
                return own(*args[1:], **kwargs) if callable(own) else own
            next_step = call.dispatch.epilogue.steps[step]
            if not first.is_taken and is_step(next_step, func, args, kwargs):
                return first._advanced(1, func in _IN_PLACE or bool(kwargs.get("inplace")))
        args, kwargs = tree_map(_numbers, (tuple(args), kwargs))
        return func(*args, **kwargs)


def _numbers(value: Any) -> Any:
    if not isinstance(value, Deferred):
        return value
    if value.known is None:
        value.known = value.call.after(value.step)
    return _numbers(value.known)  # a ReLU in place has another one
