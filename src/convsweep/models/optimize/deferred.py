"""Outputs of convolutions that also compute what follows them: batch norm and ReLU.

Such a convolution returns an empty tensor. The batch norm and the ReLU take it step by step, and
the last one returns the result. Any other use gets the numbers that PyTorch has at this point,
computed then, and ends this for the convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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
"""Functions with the same result after each step, and their names."""
_RELU_IN_PLACE = (functional.relu_, torch.relu_, Tensor.relu_)
_RELU = (functional.relu, torch.relu, Tensor.relu, *_RELU_IN_PLACE)


def is_relu(func: Any) -> bool:
    """Return whether a function is ReLU."""
    return func in _RELU


def norm_call(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[tuple[Any, ...], bool, float]:  # fmt: skip
    """Return tensors, mode and eps of a call of `batch_norm`."""
    return (running_mean, running_var, weight, bias), training, eps


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution at each of its calls."""

    norm: nn.Module | None = None
    """Batch norm in evaluation mode."""
    relu: bool = False

    @property
    def norm_tensors(self) -> tuple[Any, ...]:
        """Running mean, running variance, weight and bias."""
        norm: Any = self.norm
        return norm.running_mean, norm.running_var, norm.weight, norm.bias

    @cached_property
    def steps(self) -> int:
        """Number of calls."""
        return (self.norm is not None) + self.relu

    def does(self, step: int, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call is this step."""
        if self.norm is None or step:
            return is_relu(func)
        if func is not functional.batch_norm:
            return False
        tensors, training, eps = norm_call(*args, **kwargs)
        is_own = all(one is own for one, own in zip(tensors, self.norm_tensors, strict=True))
        return is_own and not training and eps == self.norm.eps


NO_EPILOGUE = Epilogue()


class FusedCall(NamedTuple):
    """One call of a convolution with its epilogue."""

    dispatch: Any
    """Has the epilogue; is given up at a use that is none of the steps."""
    x: Tensor
    y: Tensor
    """The result of all steps."""
    convolve: Callable[[Tensor], Tensor]
    """PyTorch's own convolution."""
    version: int | None
    """Of x; None for inference tensors."""

    def after(self, steps: int) -> Tensor:
        """Return PyTorch's numbers after some of the steps.

        Raises:
            RuntimeError: x may have been overwritten since.
        """
        self.dispatch.is_given_up = True
        if self.version is None or self.x._version != self.version:
            raise RuntimeError(
                "the output of an optimized convolution is used in another way than when the model "
                "was optimized, and its input may have changed since; call the model again, this "
                "convolution is PyTorch's from now on"
            )
        y, epilogue = self.convolve(self.x), self.dispatch.epilogue
        norm: Any = epilogue.norm
        if steps and norm is not None:
            mean, variance, gamma, beta = epilogue.norm_tensors
            y = functional.batch_norm(y, mean, variance, gamma, beta, eps=norm.eps)
        return y


class Deferred(Tensor):
    """Tensor without data, in place of the output of a convolution or of its batch norm."""

    call: FusedCall
    step: int
    """Number of steps before it."""
    is_taken = False
    """Whether the next step has taken it."""
    known: Tensor | None = None
    """The numbers, once something has used them."""

    @classmethod
    def of(cls, call: FusedCall, step: int) -> Deferred:
        """Return the output after some steps, not all."""
        self: Deferred = Tensor._make_subclass(cls, _EMPTY)
        self.call, self.step = call, step
        return self

    def passed_to(self, module: Any) -> Tensor | None:
        """Return the output of a batch norm or a ReLU if it is the next step, else None."""
        if self.is_taken or self.known is not None:
            return None
        norm = self.call.dispatch.epilogue.norm
        if self.step == 0 and norm is not None:
            return self._next(False) if module is norm and not module.training else None
        return self._next(module.inplace) if isinstance(module, nn.ReLU) else None

    def _next(self, in_place: bool) -> Tensor:
        call, step = self.call, self.step + 1
        self.is_taken = True
        # After the last step, the result itself.
        y = call.y if step == call.dispatch.epilogue.steps else Deferred.of(call, step)
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
                own = getattr(call.y, METADATA[func])
                return own(*args[1:], **kwargs) if callable(own) else own
            if not first.is_taken and call.dispatch.epilogue.does(step, func, args, kwargs):
                return first._next(func in _RELU_IN_PLACE or bool(kwargs.get("inplace")))
        args, kwargs = tree_map(_numbers, (tuple(args), kwargs))
        return func(*args, **kwargs)


def _numbers(value: Any) -> Any:
    if not isinstance(value, Deferred):
        return value
    if value.known is None:
        value.known = value.call.after(value.step)
    return value.known
