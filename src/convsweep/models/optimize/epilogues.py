"""Search for what alone uses the output of a convolution: batch norm, ReLU, a 1x1 convolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convsweep.models.optimize.deferred import (
    METADATA,
    Epilogue,
    Step,
    is_norm,
    is_pointwise,
    is_step,
    norm_call,
    relu_bound,
)
from convsweep.models.optimize.layer_inventory import ModelInputs, call


@dataclass
class _Uses:
    """Calls that take a tensor as their input; None for any other use."""

    found: list[tuple[Step, _Uses] | None] = field(default_factory=list)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Calls that follow one another, if nothing else uses their inputs."""
        if len(self.found) != 1 or self.found[0] is None:
            return ()
        step, others = self.found[0]
        return (step, *others.steps)


class _Watched(Tensor):
    """Tensor that notes its uses."""

    uses: _Uses
    modules: dict[int, nn.Module]
    """Batch norms by the identity of their running mean, 1x1 convolutions by their weight's."""

    @classmethod
    def of(cls, y: Tensor, modules: dict[int, nn.Module]) -> _Watched:
        """Return the tensor with an empty list of uses."""
        self = y.as_subclass(cls)
        self.uses, self.modules = _Uses(), modules
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
            own = _step(func, args, kwargs, watched)
            if own is None:
                for one in watched:
                    one.uses.found.append(None)
                return result
            # ReLU may return its input.
            y = cls.of(result.as_subclass(Tensor), watched[0].modules)
            watched[0].uses.found.append((own, y.uses))
            return y


def _step(func: Any, args: Sequence[Any], kwargs: Any, watched: Sequence[_Watched]) -> Step | None:
    """Return the step that a call is, or None."""
    first = args[0] if args else kwargs.get("input")
    if [*map(id, watched)] != [id(first)]:
        return None
    bound = relu_bound(func, args, kwargs)
    if bound is not None:
        return bound
    tensor = None
    if func is torch.nn.functional.batch_norm:
        (tensor, *_), _, _ = norm_call(*args, **kwargs)
    elif func is torch.conv2d:
        tensor = args[1] if len(args) > 1 else None
    own = watched[0].modules.get(id(tensor))
    return own if own is not None and is_step(own, func, args, kwargs) else None


def find_epilogues(
    model: nn.Module, inputs: ModelInputs, names: Collection[str]
) -> dict[str, Epilogue]:
    """Return what follows each of these convolutions in one call of a copy in evaluation mode.

    That is its batch norm and its ReLU. Left out are convolutions whose output has another use,
    too, or another one at another call, and those of a batch norm that follows several. If a 1x1
    convolution alone follows a depthwise one, and each has one call, that one and its epilogue are
    steps, too.
    """
    modules = dict(model.named_modules())
    watching: dict[int, nn.Module] = {
        id(one.running_mean): one
        for one in modules.values()
        if is_norm(one) and one.running_mean is not None
    }
    watching |= {id(modules[n].weight): modules[n] for n in names if is_pointwise(modules[n])}
    outputs: list[tuple[str, _Uses]] = []

    def watch(name: str, module: nn.Module, arguments: object, y: Any) -> Any:
        if type(y) is Tensor and not torch._C._are_functorch_transforms_active():
            y = _Watched.of(y, watching)
        outputs.append((name, y.uses if isinstance(y, _Watched) else _Uses()))
        return y

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(modules[name].register_forward_hook(partial(watch, name)))
        for leaf in tree_leaves(call(model, inputs)):
            if isinstance(leaf, _Watched):
                leaf.uses.found.append(None)
    found: dict[str, set[tuple[Step, ...]]] = {}
    for name, uses in outputs:
        found.setdefault(name, set()).add(uses.steps)
    alone = {name: own.pop() for name, own in found.items() if len(own) == 1}
    own = {name: _own_steps(steps) for name, steps in alone.items()}
    norms = Counter(id(steps[0]) for steps in own.values() if steps and is_norm(steps[0]))
    own = {name: steps for name, steps in own.items() if steps and norms[id(steps[0])] <= 1}
    once = {name for name, number in Counter(name for name, _ in outputs).items() if number == 1}
    return _with_pointwise(modules, alone, own, once)


def _own_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the batch norm and the ReLU at the start of the steps."""
    count = sum(map(is_norm, steps[:1]))
    return steps[: count + any(isinstance(one, float) for one in steps[count : count + 1])]


def _with_pointwise(
    modules: Mapping[str, Any],
    alone: Mapping[str, tuple[Step, ...]],
    own: Mapping[str, tuple[Step, ...]],
    once: Collection[str],
) -> dict[str, Epilogue]:
    """Add the 1x1 convolutions that alone follow depthwise ones, and their epilogues."""
    found = {name: Epilogue(steps) for name, steps in own.items()}
    names = {id(module): name for name, module in modules.items()}
    for name in once & alone.keys():
        first, [following, *_] = modules[name], [*alone[name][len(own.get(name, ())) :], None]
        is_depthwise = first.groups == first.in_channels == first.out_channels
        last = names.get(id(following), "")
        if isinstance(first, nn.Conv2d) and is_depthwise and last in once:
            steps = (*own.get(name, ()), following, *own.get(last, ()))
            found[name] = Epilogue(steps)
    return found
