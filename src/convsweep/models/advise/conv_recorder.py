"""What PyTorch dispatches while a model runs: its convolutions, each noted as a problem."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from convsweep.problems.problem import ConvProblem

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
class ModelTrace:
    """What one call of the model executes, in its order."""

    model: str
    """The class of the model."""
    convolutions: list[Recorded] = field(default_factory=list)
    unmeasured: list[Unmeasured] = field(default_factory=list)
    macs: int = 0
    """Of all its convolutions, matrix products and attention, as PyTorch counts them."""
    really_run: bool = False
    """Whether it had to be run, because what it does depends on numbers."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every convolution that is dispatched while this is entered."""

    def __init__(self, found: ModelTrace, names: Sequence[str]) -> None:
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
        if x.dtype != weight.dtype:  # tensors without numbers may pass, real ones don't
            raise TypeError(f"input is {x.dtype} and weight is {weight.dtype}")
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
