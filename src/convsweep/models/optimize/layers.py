"""Convolution modules that run on the chosen backend, or on torch's own convolution.

For inference. A module may also compute the batch norm and the ReLU that follow (see `deferred`). A
call for which the choice was not measured falls back to torch, and so do what follows it and a call
in a process forked from one that has prepared a backend, as thread pools do not survive a fork.
"""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Never, Self

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

from convsweep.models.optimize.deferred import Deferred, FusedCall
from convsweep.models.optimize.dispatch import BackendChoice, Dispatch, preparing_process, stamps_of
from convsweep.models.optimize.geometry import Key, has_format, key_of


class _DispatchingConv(nn.Module):
    """Mix-in for torch's convolution modules that selects the backend per call."""

    dispatch: Dispatch

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of `input` on the chosen backend."""
        if _is_traced(input):
            y: Tensor = super().forward(input)
            return y
        dispatch, key, tensors = self.dispatch, key_of(input), _tensors(self)
        choice, stamps = dispatch.choices.get(key), stamps_of(tensors)
        reason: str | None = "another input"
        if choice is not None:
            reason = _transform_reason(self, input, tensors, stamps) or _setting_reason(
                self, input, key, choice, tensors[0]
            )
        dispatch.calls[f"torch: {reason}" if choice is None or reason else choice.backend] += 1
        if choice is None or reason:
            return super().forward(input)  # type: ignore[no-any-return]
        convolve = dispatch.conv(self, key, choice, tensors, stamps)
        y = convolve(choice.geometry.padded(input))
        if not dispatch.epilogue.steps:
            return y
        version = None if input.is_inference() else input._version
        changed = partial(_have_changed, self, stamps)
        return Deferred.of(FusedCall(dispatch, input, y, super().forward, version, changed), 0)

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


class _FollowingModule(nn.Module):
    """Mix-in for modules that pass on what the convolution before them has computed."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the module's own result, which may be there already."""
        if type(input) is Deferred and input.is_next(self):
            return input.after([self])
        return super().forward(input)  # type: ignore[no-any-return]


class Sequential(nn.Sequential):
    """`nn.Sequential` that skips what a convolution has computed."""

    def forward(self, input: Any) -> Any:
        """Return the output of the last module."""
        skipped: list[nn.Module] = []
        for module in self._modules.values():
            if type(input) is Deferred:
                if _is_plain(module) and input.is_next(module, len(skipped)):
                    skipped.append(module)
                    continue
                input, skipped = input.after(skipped), []
            input = module(input)
        return input.after(skipped) if skipped else input


def _is_plain(module: Any) -> bool:
    """Return whether a call of the module is one of its forward method alone."""
    if not isinstance(module, _FollowingModule):
        return False
    own = module.__dict__
    watched = own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own
    return not watched and not _has_any_global_hook()  # type: ignore[no-untyped-call]


def _is_traced(x: Tensor) -> bool:
    """Return whether operators are being recorded, so that each has to be one of torch's."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return type(x) is not Tensor or torch.compiler.is_compiling() or bool(tracing)


def _tensors(module: Any) -> list[Tensor]:
    """Return the tensors that the convolution is prepared with; empty if one is computed.

    This runs at every call, and dictionaries are faster than attributes.
    """
    epilogue = module.dispatch.epilogue
    try:
        found = [module._parameters["weight"], module._parameters["bias"]]
        if epilogue.pointwise is not None:
            own = epilogue.pointwise._parameters
            found += [own["weight"], own["bias"]]
        for norm in epilogue.norms:
            own, buffers = norm._parameters, norm._buffers
            found += [own["weight"], own["bias"], buffers["running_mean"], buffers["running_var"]]
            found.append(buffers["num_batches_tracked"])  # training counts no other write
    except KeyError:
        return []
    is_plain = type(found[0]) is nn.Parameter
    if epilogue.pointwise is not None:
        is_plain = is_plain and type(found[2]) is nn.Parameter
    return [one for one in found if one is not None] if is_plain else []


def _have_changed(module: Any, stamps: list[int]) -> bool:
    return stamps_of(_tensors(module)) != stamps


def _transform_reason(
    module: Any, x: Tensor, tensors: Sequence[Tensor], stamps: list[int]
) -> str | None:
    """Return why this call computes more than an output from numbers, or None."""
    if not tensors:
        return "its weight is computed"
    if module.training:
        return "training"
    for norm in module.dispatch.epilogue.norms:
        if norm.training or norm._buffers["running_mean"] is None:
            return "its batch norm takes the statistics of the batch"
    if torch._C._are_functorch_transforms_active():
        return "transformed by torch.func"
    needs_grad = torch.is_grad_enabled() and any(one.requires_grad for one in (x, *tensors))
    if forward_ad._current_level >= 0 or needs_grad:
        return "gradients are recorded"
    if not stamps:
        return "weights made in inference mode"
    return None


def _setting_reason(
    module: Any, x: Tensor, key: Key, choice: BackendChoice, weight: Tensor
) -> str | None:
    """Return how the setting of this call differs from the measured one, or None."""
    dispatch: Dispatch = module.dispatch
    if torch.is_autocast_enabled(key[2]):
        return "autocast"
    if torch.get_num_threads() != dispatch.threads:
        return "another number of threads"
    if weight.dtype is not key[1] or weight.device != x.device:
        return "weights of another dtype or device"
    if not has_format(x, choice.memory_format):
        return "another memory format"
    if dispatch.is_given_up or (dispatch.epilogue.steps and _is_watched(module)):
        return "its output has another use"
    if preparing_process() != os.getpid():
        return "a forked process"
    return None


def _is_watched(conv: Any) -> bool:
    """Return whether a hook takes the output of the convolution or of a step."""
    if conv._forward_hooks:
        return True
    for one in conv.dispatch.epilogue.modules:
        if one._forward_pre_hooks or one._forward_hooks:
            return True
    return False


class Conv1d(_DispatchingConv, nn.Conv1d):
    """`nn.Conv1d` on the backend chosen for its input."""


class Conv2d(_DispatchingConv, nn.Conv2d):
    """`nn.Conv2d` on the backend chosen for its input."""


class Conv3d(_DispatchingConv, nn.Conv3d):
    """`nn.Conv3d` on the backend chosen for its input."""


class BatchNorm1d(_FollowingModule, nn.BatchNorm1d):
    """`nn.BatchNorm1d` that a convolution may have computed."""


class BatchNorm2d(_FollowingModule, nn.BatchNorm2d):
    """`nn.BatchNorm2d` that a convolution may have computed."""


class BatchNorm3d(_FollowingModule, nn.BatchNorm3d):
    """`nn.BatchNorm3d` that a convolution may have computed."""


class ReLU(_FollowingModule, nn.ReLU):
    """`nn.ReLU` that a convolution may have computed."""


class PointwiseConv2d(_FollowingModule, nn.Conv2d):
    """`nn.Conv2d` of each pixel alone, which the depthwise one before it may have computed."""


class ReLU6(_FollowingModule, nn.ReLU6):
    """`nn.ReLU6` that a convolution may have computed."""


_REPLACEMENTS = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
_FOLLOWING: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
    nn.ReLU: ReLU,
    nn.ReLU6: ReLU6,
    nn.Sequential: Sequential,
}


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


def replace_following(model: nn.Module) -> None:
    """Let batch norms and ReLUs pass on results without a call into torch, which takes longer."""
    epilogues = [dispatch.epilogue for dispatch in dispatches(model).values()]
    if any(epilogue.steps for epilogue in epilogues):
        for module in model.modules():
            module.__class__ = _FOLLOWING.get(type(module), type(module))
    for epilogue in epilogues:
        if epilogue.pointwise is not None:
            epilogue.pointwise.__class__ = PointwiseConv2d


def restore_all(model: nn.Module) -> None:
    """Turn all modules into torch's own again."""
    for name in dispatches(model):
        restore(model.get_submodule(name))
    following: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: PointwiseConv2d, **_FOLLOWING}
    plain = {ours: torchs for torchs, ours in following.items()}
    for module in model.modules():
        module.__class__ = plain.get(type(module), type(module))


def dispatches(model: nn.Module) -> dict[str, Dispatch]:
    """Return the dispatch of each replaced module by its dotted name."""
    ours = tuple(_REPLACEMENTS.values())
    return {name: m.dispatch for name, m in model.named_modules() if isinstance(m, ours)}
