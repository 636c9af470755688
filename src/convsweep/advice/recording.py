"""Every convolution that a model really executes, seen where PyTorch dispatches its operators."""

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
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from convsweep.problem import ConvProblem, Size, format_size
from convsweep.record import one_line

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution)
_FURTHER = re.compile(r"conv(?!ert)(?!.*weight)")  # operators that convolve in some other way


@dataclass(frozen=True)
class Recorded:
    """One convolution, as often as it is executed."""

    problem: ConvProblem
    module: str
    """The dotted name of the innermost module that calls it; empty is the model itself."""
    dtype: str
    macs: int


@dataclass(frozen=True)
class Unmeasured:
    """A convolution that is executed, and that no `ConvProblem` stands for."""

    why: str
    module: str
    macs: int


@dataclass
class Recording:
    """What one call of the model executes, in its order."""

    model: str
    """The class of the model."""
    convolutions: list[Recorded] = field(default_factory=list)
    unmeasured: list[Unmeasured] = field(default_factory=list)
    macs: int = 0
    """Of all its convolutions, matrix products and attention, as PyTorch counts them."""
    really_run: bool = False
    """Whether it had to be run, because what it does depends on numbers."""


def record(model: nn.Module, input_shapes: Sequence[Size]) -> Recording:
    """Every convolution of one call, functional ones too, without doing its arithmetic.

    A copy of the model, in evaluation mode, is called on tensors that have a shape and no numbers.
    Where that fails, since what it does depends on numbers, it is run once for real. The model
    and the generators of random numbers stay as they were. What TorchScript has frozen for
    inference, and what other threads compute, is not seen; what is compiled is run as it was
    written.

    Args:
        model: on any device, also `meta`; its parameters' dtype is the inputs'.
        input_shapes: one a positional argument.

    Raises:
        ValueError: in one line, where the model can't be called on inputs of these shapes.
    """
    try:
        return _watch(model, input_shapes, FakeTensorMode(allow_non_fake_inputs=True))
    except (Exception, SystemExit):  # its own errors come again, about tensors that it knows
        pass
    try:
        found = _watch(model, input_shapes, None)
    except (Exception, SystemExit) as error:
        shapes = " and ".join(format_size(shape) for shape in input_shapes)
        told = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(f"the model can't take an input of {shapes}: {told}") from None
    found.really_run = True
    return found


def _watch(model: nn.Module, shapes: Sequence[Size], fake: FakeTensorMode | None) -> Recording:
    found = Recording(type(model).__name__)
    with redirect_stdout(sys.stderr), ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=_accelerators(model)))
        torch.manual_seed(0)
        stack.enter_context(torch.no_grad())
        stack.enter_context(_as_written())
        stack.enter_context(_silenced())
        own = _copy(model, fake)
        stack.enter_context(_evaluating(own))
        stack.enter_context(fake or nullcontext())
        inputs = [_input(model, shape) for shape in shapes]
        names = stack.enter_context(_calls(own))
        stack.enter_context(_Watch(found, names))
        own(*inputs)
    return found


def _accelerators(model: nn.Module) -> list[int]:
    """The CUDA devices that the model lies on."""
    tensors = [*model.parameters(), *model.buffers()]
    return sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})


def _as_written() -> AbstractContextManager[Any]:
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


def _input(model: nn.Module, shape: Size) -> Tensor:
    """Seeded normals, where the first of the model's tensors lies, in its floating dtype."""
    tensors = [*model.parameters(), *model.buffers()]
    dtypes = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    device = tensors[0].device if tensors else "cpu"
    return torch.randn(shape, dtype=dtypes[0] if dtypes else None, device=device)


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[str]]:
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


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every convolution that is dispatched while this is entered."""

    def __init__(self, found: Recording, names: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found, self._names = found, names

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The operator's own result."""
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if _comes_whole(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        count = flop_registry.get(packet)
        macs = count(*args, **kwargs, out_val=result) // 2 if count else 0
        self._found.macs += macs
        if packet in _CONVOLUTIONS:
            self._note(macs, *args[:9])
        elif _FURTHER.search(str(packet)):
            self._note_unmeasured(f"{packet} is no plain convolution", macs)
        return result

    def _note(
        self,
        macs: int,
        x: Tensor,  # (N, C_in, *input_size)
        weight: Tensor,  # (C_out, C_in / groups, *kernel_size), transposed (C_in, C_out / groups)
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
    ) -> None:
        if transposed:
            macs = x.numel() * prod(weight.shape[1:])
            self._note_unmeasured("transposed convolutions are not measured", macs)
            return
        try:
            problem = ConvProblem(
                x.shape[1],
                weight.shape[0],
                tuple(x.shape[2:]),
                tuple(weight.shape[2:]),
                batch_size=x.shape[0],
                stride=_spread(stride),
                padding=_spread(padding),
                dilation=_spread(dilation),
                groups=groups,
                bias=bias is not None,
            )
        except ValueError as error:
            self._note_unmeasured(str(error), macs)
            return
        dtype = str(x.dtype).removeprefix("torch.")
        self._found.convolutions.append(Recorded(problem, self._names[-1], dtype, macs))

    def _note_unmeasured(self, why: str, macs: int) -> None:
        self._found.unmeasured.append(Unmeasured(why, self._names[-1], macs))


def _comes_whole(func: Any) -> bool:
    """Whether it may consist of others, as `conv2d` with padding="same" in inference mode does."""
    return (
        torch.is_inference_mode_enabled()
        and func.namespace == "aten"
        and func.overloadpacket not in _CONVOLUTIONS
    )


def _spread(values: Sequence[int]) -> int | tuple[int, ...]:
    """One number for all dimensions, or one for each."""
    return values[0] if len(values) == 1 else tuple(values)
