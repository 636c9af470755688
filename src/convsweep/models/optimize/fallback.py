"""The occasions at which a replaced module runs torch's own convolution."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from convsweep.models.optimize.geometry import memory_formats


@cache
def preparing_process() -> int:
    """The process that was the first to prepare a backend; what it forks inherits the answer."""
    return os.getpid()


def fallback_reason(module: Any, x: Tensor, memory_format: str, threads: int) -> str | None:
    """Why this call is torch's own, in words, or None."""
    if module.training:
        return "training"
    return _transformed_reason(module, x) or _moved_reason(module, x, memory_format, threads)


def _transformed_reason(module: Any, x: Tensor) -> str | None:
    """Why this call is more than numbers in and numbers out, in words, or None."""
    if torch._C._are_functorch_transforms_active():
        return "transformed by torch.func"
    if forward_ad._current_level >= 0:
        return "gradients are recorded"
    if torch.is_grad_enabled() and _records_gradients(module, x):
        return "gradients are recorded"
    if type(module.weight) is not nn.Parameter:
        return "its weight is computed"
    if module.weight.is_inference() or (module.bias is not None and module.bias.is_inference()):
        return "weights made in inference mode"
    return None


def _moved_reason(module: Any, x: Tensor, memory_format: str, threads: int) -> str | None:
    """Why this call is not what was measured, in words, or None."""
    if torch.is_autocast_enabled(x.device.type):
        return "autocast"
    if torch.get_num_threads() != threads:
        return "another number of threads"
    if module.weight.dtype != x.dtype or module.weight.device != x.device:
        return "weights of another dtype or device"
    if memory_format not in memory_formats(x):
        return "another memory format"
    if preparing_process() != os.getpid():
        return "a forked process"
    return None


def is_traced(x: Tensor) -> bool:
    """Whether operators are written down for later, so that each has to be one of torch's."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return type(x) is not Tensor or torch.compiler.is_compiling() or bool(tracing)


def _records_gradients(module: Any, x: Tensor) -> bool:
    bias = module.bias
    needed = x.requires_grad or module.weight.requires_grad
    return bool(needed or (bias is not None and bias.requires_grad))
