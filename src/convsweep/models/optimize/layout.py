"""Models that compute in channels_last: inputs are converted at entry, outputs at exit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


def to_channels_last(value: Any) -> Any:
    """Return a value in which all floating (N, C, H, W) tensors are channels_last."""
    return tree_map(lambda x: _converted(x, torch.channels_last), value)


def convert_inside(model: nn.Module) -> None:
    """Let a model compute in channels_last; its outputs are contiguous."""
    model.register_forward_pre_hook(_enter, with_kwargs=True)
    model.register_forward_hook(_leave)


def undo_conversion(model: nn.Module) -> None:
    """Remove the conversions of `convert_inside`, if there are any."""
    own: Any
    for own, hook in ((model._forward_pre_hooks, _enter), (model._forward_hooks, _leave)):
        for key in [key for key, one in own.items() if one is hook]:
            del own[key]
            model._forward_pre_hooks_with_kwargs.pop(key, None)


def _enter(module: nn.Module, arguments: Any, keywords: Any) -> Any:
    return to_channels_last((arguments, keywords))


def _leave(module: nn.Module, arguments: Any, output: Any) -> Any:
    return tree_map(lambda x: _converted(x, torch.contiguous_format), output)


def _converted(x: Any, memory_format: torch.memory_format) -> Any:
    is_image = isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point()
    return x.contiguous(memory_format=memory_format) if is_image else x
