"""Recorder of the convolutions that PyTorch dispatches while a model runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from convsweep.problems.conv_call import (
    convolution_problem,
    dtype_name,
    dtype_reason,
    with_zeros,
)
from convsweep.problems.problem import ConvProblem

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution)
_OTHER_CONVOLUTIONS = re.compile(r"conv(?!ert)(?!.*weight)")


@dataclass(frozen=True)
class RecordedConv:
    """One execution of a convolution."""

    problem: ConvProblem
    module: str  # Dotted name of the innermost module that calls it; empty for the model itself
    dtype: str
    macs: int


@dataclass(frozen=True)
class UnmeasuredConv:
    """One execution of a convolution that no `ConvProblem` describes."""

    reason: str
    module: str
    macs: int


@dataclass
class ModelTrace:
    """Convolutions that one call of a model executes, in order."""

    model: str  # Name of the model's class
    convolutions: list[RecordedConv] = field(default_factory=list)
    unmeasured: list[UnmeasuredConv] = field(default_factory=list)
    macs: int = 0  # MACs of all convolutions, matrix products and attention, as PyTorch counts them
    really_run: bool = False
    """Whether the model was run with real numbers, because its operations depend on them."""
    has_gradients: bool = False  # Whether an output requires a gradient, recorded with gradients
    warnings: list[str] = field(default_factory=list)
    """Sentences on the model that its layers' times do not show."""


@contextmanager
def recording(trace: ModelTrace, names: Sequence[str]) -> Iterator[None]:
    """Within, add every convolution to a trace; `names` are the active modules, innermost last."""
    recorder = _Recorder(trace, names)
    with recorder, _ComplexCalls(recorder):
        yield


class _ComplexCalls(TorchFunctionMode):
    """Finds complex convolutions, which are dispatched as several real ones."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Return the function's own result."""
        call = partial(func, *args, **(kwargs or {}))
        values = (*args, *call.keywords.values()) if "conv" in getattr(func, "__name__", "") else ()
        found = next((v for v in values if isinstance(v, Tensor) and v.is_complex()), None)
        return call() if found is None else self._recorder.as_unmeasured(dtype_reason(found), call)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, trace: ModelTrace, names: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace, self._names, self._is_within = trace, names, False
        self._zeros_of = WeakTensorKeyDictionary()  # added by `F.pad`, per padded tensor

    def as_unmeasured(self, reason: str, call: Callable[[], Any]) -> Any:
        """Return the result of a call, recorded as one convolution that is not measured."""
        before, self._is_within = self._trace.macs, True
        try:
            return call()
        finally:
            self._is_within = False
            self._record_unmeasured(reason, self._trace.macs - before)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return the operator's own result."""
        kwargs = kwargs or {}
        packet = func.overloadpacket
        may_decompose = torch.is_inference_mode_enabled() and func.namespace == "aten"
        if may_decompose and packet not in _CONVOLUTIONS:  # as `conv2d` does in inference mode
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        count = flop_registry.get(packet)
        macs = count(*args, **kwargs, out_val=result) // 2 if count else 0
        self._trace.macs += macs
        if self._is_within:
            return result
        if packet is torch.ops.aten.constant_pad_nd and not any(args[2:]):
            self._zeros_of[result] = args[1]
        elif packet in _CONVOLUTIONS:
            self._record(macs, *args)
        elif _OTHER_CONVOLUTIONS.search(str(packet)):
            self._record_unmeasured(f"{packet} is no plain convolution", macs)
        return result

    def _record(
        self,
        macs: int,
        x: Tensor,  # (N, C_in, *input_size)
        weight: Tensor,  # (C_out, C_in / groups, *kernel_size), transposed (C_in, C_out / groups)
        *others: Any,
    ) -> None:
        bias, stride, padding, dilation, transposed, output_padding, groups = others[:7]
        if x.dtype != weight.dtype:  # fake tensors accept it, real ones do not
            raise TypeError(f"input is {x.dtype} and weight is {weight.dtype}")
        try:
            problem = convolution_problem(
                x, weight, bias, stride, padding, dilation, groups, transposed, output_padding
            )
            zeros = self._zeros_of.get(x, ())  # type: ignore[no-untyped-call]
            problem = with_zeros(problem, zeros)
        except ValueError as error:
            self._record_unmeasured(str(error), macs)
            return
        recorded = RecordedConv(problem, self._names[-1], dtype_name(x.dtype), macs)
        self._trace.convolutions.append(recorded)

    def _record_unmeasured(self, reason: str, macs: int) -> None:
        self._trace.unmeasured.append(UnmeasuredConv(reason, self._names[-1], macs))
