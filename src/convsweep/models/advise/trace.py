"""One call of a model, watched: without its arithmetic, and without changing anything of it."""

from __future__ import annotations

import copy
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stdout,
)
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from convsweep.formatting import one_line
from convsweep.models.advise.conv_recorder import ModelTrace, Watch
from convsweep.problems.case import DTYPES
from convsweep.problems.problem import Size, format_size

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WHOLE_NUMBERS = re.compile(r"\b(long|int|integers?)\b", re.IGNORECASE)


def record(model: nn.Module, input_shapes: Sequence[Size]) -> ModelTrace:
    """Every convolution of one call, functional ones too, without doing its arithmetic.

    A copy of the model, in evaluation mode, is called on tensors that have a shape and no numbers.
    Where that fails, since what it does depends on numbers, it is run once for real. Inputs are
    float32, or of its parameters' dtype where it can't take that. The model and the generators of
    random numbers stay as they were. What TorchScript has frozen for inference, and what other
    threads compute, is not seen; what is compiled is run as it was written.

    Args:
        model: on any device, also `meta`.
        input_shapes: one a positional argument.

    Raises:
        ValueError: in one line, where the model can't be called on inputs of these shapes, or
            convolves complex numbers.
    """
    _require_real(model)
    dtypes = dict.fromkeys((torch.float32, _own_dtype(model)))
    for dtype in dtypes:
        try:
            fake = FakeTensorMode(allow_non_fake_inputs=True)
            return _watch(model, input_shapes, dtype, fake)
        except (Exception, SystemExit):  # its own errors come again, about tensors that it knows
            pass
    for dtype in dtypes:
        try:
            found = _watch(model, input_shapes, dtype, None)
        except (Exception, SystemExit) as error:
            told = one_line(f"{type(error).__name__}: {error}")
        else:
            found.really_run = True
            return found
    shapes = " and ".join(format_size(shape) for shape in input_shapes)
    if _WHOLE_NUMBERS.search(told):
        shapes += " (normals; whole numbers can't be given)"
    raise ValueError(f"the model can't take an input of {shapes}: {told}")


def _require_real(model: nn.Module) -> None:
    """Raise `ValueError` where a convolution is complex, which PyTorch makes several real ones."""
    for name, module in model.named_modules():
        if isinstance(module, _CONVOLUTIONS) and module.weight.dtype.is_complex:
            dtype = str(module.weight.dtype).removeprefix("torch.")
            raise ValueError(
                f"the convolution {name or type(module).__name__} is in {dtype}; dtypes are "
                f"{', '.join(DTYPES)}"
            )


def _watch(
    model: nn.Module, shapes: Sequence[Size], dtype: torch.dtype, fake: FakeTensorMode | None
) -> ModelTrace:
    found = ModelTrace(type(model).__name__)
    with redirect_stdout(sys.stderr), ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=_accelerators(model)))
        torch.manual_seed(0)
        stack.enter_context(torch.no_grad())
        stack.enter_context(as_written())
        stack.enter_context(_silenced())
        own = _copy(model, fake)
        stack.enter_context(_evaluating(own))
        stack.enter_context(fake or nullcontext())
        inputs = [torch.randn(shape, dtype=dtype, device=_device(model)) for shape in shapes]
        names = stack.enter_context(calling(own))
        stack.enter_context(Watch(found, names))
        own(*inputs)
    return found


def _accelerators(model: nn.Module) -> list[int]:
    """The CUDA devices that the model lies on."""
    tensors = [*model.parameters(), *model.buffers()]
    return sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})


def as_written() -> AbstractContextManager[Any]:
    """Within, what `torch.compile` has compiled is run as it was written."""
    if "torch._dynamo" not in sys.modules:  # a second's import, and nothing is compiled
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def _silenced() -> Iterator[None]:
    """Within, PyTorch logs no operator that can't do without numbers: that is seen to."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def _copy(model: nn.Module, fake: FakeTensorMode | None) -> nn.Module:
    """The model again, for `fake` without its numbers; itself where it can't be copied."""
    try:
        with FakeCopyMode(fake) if fake else nullcontext():
            return copy.deepcopy(model)
    except Exception:
        return model


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    # What TorchScript has frozen is in evaluation mode, and has no word for it.
    before = [(own, own.training) for own in model.modules() if hasattr(own, "training")]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _own_dtype(model: nn.Module) -> torch.dtype:
    """The first floating one of the model's tensors; float32 where it has none."""
    tensors = [*model.parameters(), *model.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def _device(model: nn.Module) -> torch.device | str:
    """Where the first of the model's tensors lies."""
    return next((t.device for t in [*model.parameters(), *model.buffers()]), "cpu")


@contextmanager
def calling(model: nn.Module) -> Iterator[list[str]]:
    """The dotted names of the modules that are being called, the innermost last.

    Modules that it does not know of, or that take no hooks as TorchScript's, go by their caller's.
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
            plain = name.replace("_orig_mod.", "")  # as it was before it was compiled
            before = module.register_forward_pre_hook(partial(enter, plain), prepend=True)
            after = module.register_forward_hook(leave, always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield names
