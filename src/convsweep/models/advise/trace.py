"""Trace of one call of a model: its convolutions, recorded without computing them."""

import copy
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._pytree import tree_leaves

from convsweep.models.advise.conv_recorder import ModelTrace, recording
from convsweep.models.advise.model_warnings import model_warnings
from convsweep.problems.case import FORWARD
from convsweep.problems.problem import Size, format_size
from convsweep.problems.user_code import UserCodeError, eager, own_name, user_code

_INTEGERS = re.compile(r"\b(long|int|integers?)\b", re.IGNORECASE)


def record(model: nn.Module, input_shapes: Sequence[Size], direction: str = FORWARD) -> ModelTrace:
    """Return every convolution of one call, functional ones included, without its arithmetic.

    A copy of the model in evaluation mode is called on fake tensors, which have a shape and no
    numbers. If its operations depend on numbers, it is run once for real. Inputs are float32; if
    that fails, they have the parameters' dtype. The model and the random number generators are
    unchanged. TorchScript frozen for inference and other threads are not seen; compiled code is
    run eagerly.

    Args:
        model: on any device, also `meta`.
        input_shapes: one per positional argument.
        direction: other than forward, the call records gradients.

    Raises:
        ValueError: the model cannot be called on these inputs, or has no gradients for a
            direction that needs them.
    """
    own_dtypes = (t.dtype for t in tensors_of(model) if t.is_floating_point() or t.is_complex())
    dtypes = dict.fromkeys((torch.float32, next(own_dtypes, torch.float32)))
    for is_fake, dtype in itertools.product((True, False), dtypes):
        try:
            with user_code():
                fake = FakeTensorMode(allow_non_fake_inputs=True) if is_fake else None
                trace = _trace(model, input_shapes, dtype, fake, direction)
        except UserCodeError as error:  # the last one, with real tensors, is the model's own
            failure = str(error)
        else:
            if direction != FORWARD and not trace.has_gradients:
                raise ValueError(
                    f"{trace.model} has no gradients for --direction {direction}: no parameter "
                    "requires one and reaches the output; choose forward"
                )
            return trace
    shapes = " and ".join(format_size(shape) for shape in input_shapes)
    if _INTEGERS.search(failure):
        shapes += " (normals; integer inputs are not supported)"
    raise ValueError(f"the model cannot take an input of {shapes}: {failure}")


def _trace(
    model: nn.Module,
    shapes: Sequence[Size],
    dtype: torch.dtype,
    fake: FakeTensorMode | None,
    direction: str,
) -> ModelTrace:
    trace = ModelTrace(
        type(getattr(model, "_orig_mod", model)).__name__, warnings=model_warnings(model)
    )
    devices = list(dict.fromkeys(t.device for t in tensors_of(model))) or [torch.device("cpu")]
    with ExitStack() as stack:
        cuda = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        torch.manual_seed(0)
        stack.enter_context(torch.set_grad_enabled(direction != FORWARD))
        stack.enter_context(eager())
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable()  # PyTorch logs operators that need numbers: these are handled
        own = _copy(model, fake)
        for module in own.modules():
            if hasattr(module, "training"):  # frozen TorchScript has no such attribute
                stack.callback(setattr, module, "training", module.training)
        own.eval()
        stack.enter_context(fake or nullcontext())
        inputs = [torch.randn(shape, dtype=dtype, device=devices[0]) for shape in shapes]
        names = stack.enter_context(module_names(own))
        stack.enter_context(recording(trace, names))
        found = tree_leaves(own(*inputs))
    trace.has_gradients = any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in found
    ) and not any(tensor.is_inference() for tensor in tensors_of(model))
    trace.really_run = fake is None
    return trace


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    """Return parameters and buffers; raise `ValueError` if they cannot be listed."""
    try:
        with user_code():
            return [*model.parameters(), *model.buffers()]
    except UserCodeError as error:
        raise ValueError(f"{type(model).__name__} cannot list its parameters: {error}") from None


def _copy(model: nn.Module, fake: FakeTensorMode | None) -> nn.Module:
    """Return a copy, with fake tensors for `fake`; the model itself if it cannot be copied."""
    try:
        with FakeCopyMode(fake) if fake else nullcontext():
            return copy.deepcopy(model)
    except Exception:
        if any(map(nn.parameter.is_lazy, tensors_of(model))):  # the call would initialize it
            raise ValueError("it has lazy modules; call it once where it is made") from None
        return model


@contextmanager
def module_names(model: nn.Module) -> Iterator[list[str]]:
    """Yield the dotted names of the modules being called, the innermost last.

    Modules that are unknown or take no hooks, as TorchScript's, go by their caller's name.
    """
    names = [""]

    def enter(name: str, module: nn.Module, arguments: object) -> None:
        names.append(name)

    def leave(module: nn.Module, arguments: object, result: object) -> None:
        names.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            before = partial(enter, own_name(name))
            stack.enter_context(module.register_forward_pre_hook(before, prepend=True))
            stack.enter_context(module.register_forward_hook(leave, always_call=True))
        yield names
