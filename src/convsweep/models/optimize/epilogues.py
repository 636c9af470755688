"""Search for the batch norm and the ReLU that alone use the output of a convolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convsweep.models.optimize.deferred import (
    METADATA,
    NO_EPILOGUE,
    Epilogue,
    is_relu,
    norm_call,
)
from convsweep.models.optimize.layer_inventory import ModelInputs, call


@dataclass
class _Uses:
    """Calls that take a tensor as their input; None for any other use."""

    found: list[tuple[Epilogue, _Uses] | None] = field(default_factory=list)

    @property
    def epilogue(self) -> Epilogue:
        """Batch norm and ReLU, if nothing else uses the tensor."""
        if len(self.found) != 1 or self.found[0] is None:
            return NO_EPILOGUE
        [(first, others)] = self.found  # type: ignore[misc]
        return first if first.relu else Epilogue(first.norm, others.epilogue == Epilogue(relu=True))


class _Watched(Tensor):
    """Tensor that notes its uses."""

    uses: _Uses
    norms: dict[int, nn.Module]
    """Batch norms by the identity of their running mean."""

    @classmethod
    def of(cls, y: Tensor, norms: dict[int, nn.Module]) -> _Watched:
        """Return the tensor with an empty list of uses."""
        self = y.as_subclass(cls)
        self.uses, self.norms = _Uses(), norms
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Note the use and call the function."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if func in METADATA:
                return result
            watched = [one for one in tree_leaves((args, kwargs)) if isinstance(one, _Watched)]
            own = _epilogue(func, args, kwargs, watched)
            if own is None:
                for one in watched:
                    one.uses.found.append(None)
                return result
            # ReLU may return its input.
            y = cls.of(result.as_subclass(Tensor), watched[0].norms)
            watched[0].uses.found.append((own, y.uses))
            return y


def _epilogue(
    func: Any, args: Sequence[Any], kwargs: Any, watched: Sequence[_Watched]
) -> Epilogue | None:
    """Return the batch norm or the ReLU that a call is, or None."""
    first = args[0] if args else kwargs.get("input")
    if [*map(id, watched)] != [id(first)]:
        return None
    if is_relu(func):
        return Epilogue(relu=True)
    if func is torch.nn.functional.batch_norm:
        (mean, *_), _, _ = norm_call(*args, **kwargs)
        own = Epilogue(watched[0].norms.get(id(mean)))
        return own if own.norm and own.does(0, func, args, kwargs) else None
    return None


def find_epilogues(
    model: nn.Module, inputs: ModelInputs, names: Collection[str]
) -> dict[str, Epilogue]:
    """Return what follows each of these convolutions in one call of a copy in evaluation mode.

    Left out are convolutions whose output has another use, too, or another one at another call, and
    those of a batch norm that follows several.
    """
    modules = dict(model.named_modules())
    norms: dict[int, nn.Module] = {
        id(module.running_mean): module
        for module in modules.values()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    }
    outputs: list[tuple[str, _Uses]] = []

    def watch(name: str, module: nn.Module, arguments: object, y: Any) -> Any:
        if type(y) is not Tensor or torch._C._are_functorch_transforms_active():
            outputs.append((name, _Uses()))
            return y
        watched = _Watched.of(y, norms)
        outputs.append((name, watched.uses))
        return watched

    with ExitStack() as stack:
        for name in names:
            handle = modules[name].register_forward_hook(partial(watch, name))
            stack.callback(handle.remove)
        for leaf in tree_leaves(call(model, inputs)):
            if isinstance(leaf, _Watched):
                leaf.uses.found.append(None)
    found: dict[str, set[Epilogue]] = {}
    for name, uses in outputs:
        found.setdefault(name, set()).add(uses.epilogue)
    alone = {name: own.pop() for name, own in found.items() if len(own) == 1}
    followed = Counter(id(own.norm) for own in alone.values() if own.norm)
    return {
        name: own
        for name, own in alone.items()
        if own.steps and (own.norm is None or followed[id(own.norm)] == 1)
    }
