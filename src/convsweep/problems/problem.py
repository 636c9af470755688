"""Shape of one convolution, and the numbers that follow from it.

In 2-D, with kernel W, input x and output y (taps outside of the image read zeros):

    y[n, o, h, w] = bias[o] + sum over c, i, j of W[o, c, i, j] * x[n, first(o) + c, row, column]
    row = h * stride + i * dilation - padding, and the same for the column
    first(o) = first input channel of the group that o belongs to

Source: Dumoulin & Visin 2016, A guide to convolution arithmetic for deep learning.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

Size = tuple[int, ...]
"""One number per spatial dimension."""

_MAX_SIZE = 10**7  # along one dimension
_MAX_COUNT = 2**63  # integers of a CSV column are below

_LABEL = re.compile(
    r"n(?P<batch_size>\d+)_ci(?P<in_channels>\d+)_co(?P<out_channels>\d+)"
    r"_i(?P<input_size>[\dx]+)_k(?P<kernel_size>[\dx]+)_s(?P<stride>[\dx]+)"
    r"_p(?P<padding>[\dx]+)_d(?P<dilation>[\dx]+)_g(?P<groups>\d+)_b(?P<bias>[01])",
    re.ASCII,
)
_SIZES = ("input_size", "kernel_size", "stride", "padding", "dilation")
_Array = TypeVar("_Array")


def format_size(size: Size) -> str:
    """Return `(56, 56)` as `56x56`."""
    return "x".join(map(str, size))


def parse_size(text: str) -> Size:
    """Return `56x56` as `(56, 56)`; raise `ValueError` for any other text."""
    if not re.fullmatch(r"\d{1,9}(x\d{1,9})*", text, re.ASCII):
        raise ValueError(f"{text!r} is not a size such as 56 or 56x56")
    return tuple(map(int, text.split("x")))


def per_dimension(values: int | Sequence[int], rank: int) -> Size:
    """Return `values` with a single number repeated `rank` times."""
    numbers = tuple(values) if isinstance(values, Sequence) else (values,)
    return numbers * rank if len(numbers) == 1 else numbers


@dataclass(frozen=True, init=False, slots=True)
class ConvProblem:
    """Shape of one convolution in 1, 2 or 3 spatial dimensions, in PyTorch's terms.

    An integer for `kernel_size`, `stride`, `padding` or `dilation` applies to every dimension.
    Raises `ValueError` for a shape that no convolution has.
    """

    in_channels: int
    out_channels: int
    input_size: Size
    kernel_size: Size
    batch_size: int
    stride: Size
    padding: Size
    dilation: Size
    groups: int
    bias: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Sequence[int],
        kernel_size: int | Sequence[int],
        *,
        batch_size: int = 1,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        if not isinstance(input_size, Sequence) or not 1 <= len(input_size) <= 3:
            raise ValueError(f"input_size must be 1, 2 or 3 whole numbers, not {input_size!r}")
        if bias not in (0, 1):
            raise ValueError(f"bias must be true or false, not {bias!r}")
        rank = len(input_size)
        values = {
            "in_channels": _integer("in_channels", in_channels),
            "out_channels": _integer("out_channels", out_channels),
            "input_size": _size("input_size", input_size, rank),
            "kernel_size": _size("kernel_size", kernel_size, rank),
            "batch_size": _integer("batch_size", batch_size),
            "stride": _size("stride", stride, rank),
            "padding": _size("padding", padding, rank, least=0),
            "dilation": _size("dilation", dilation, rank),
            "groups": _integer("groups", groups),
            "bias": bool(bias),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._require_possible()

    def _require_possible(self) -> None:
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"groups={self.groups} does not divide {name}={getattr(self, name)}"
                )
        if max(*self.input_size, *self.kernel_size, *self.padding, *self.dilation) > _MAX_SIZE:
            raise ValueError(f"{self.label} has a size above {_MAX_SIZE}, the largest allowed")
        if min(self.output_size) < 1:
            spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))
            padded = (i + 2 * p for i, p in zip(self.input_size, self.padding, strict=True))
            raise ValueError(
                f"kernel_size {format_size(self.kernel_size)} at dilation "
                f"{format_size(self.dilation)} spans {format_size(tuple(spans))}, larger than the "
                f"padded input {format_size(tuple(padded))}"
            )
        elements = map(math.prod, (self.input_shape, self.weight_shape, self.output_shape))
        if max(self.macs, 8 * sum(elements)) >= _MAX_COUNT:
            raise ValueError(f"{self.label} has 2**63 or more multiply-accumulates or bytes")

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input_size)

    @property
    def output_size(self) -> Size:
        """Per dimension: floor((input + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
        sizes = (self.input_size, self.kernel_size, self.stride, self.padding, self.dilation)
        return tuple(
            (i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in zip(*sizes, strict=True)
        )

    @property
    def input_shape(self) -> Size:
        """(N, C_in, H, W) in 2-D."""
        return (self.batch_size, self.in_channels, *self.input_size)

    @property
    def weight_shape(self) -> Size:
        """(C_out, C_in / groups, K_h, K_w) in 2-D."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def output_shape(self) -> Size:
        """(N, C_out, H_out, W_out) in 2-D."""
        return (self.batch_size, self.out_channels, *self.output_size)

    @property
    def taps(self) -> int:
        """Products per output element: (C_in / groups) * K_h * K_w in 2-D."""
        return math.prod(self.weight_shape[1:])

    @property
    def macs(self) -> int:
        """Multiply-accumulates: N * C_out * H_out * W_out * taps, padded taps counted."""
        return math.prod(self.output_shape) * self.taps

    @property
    def flops(self) -> int:
        """Floating-point operations: two per multiply-accumulate."""
        return 2 * self.macs

    def min_bytes(self, itemsize: int = 4) -> int:
        """Return the least memory traffic: used inputs, weights and outputs, each moved once.

        Not every input is used: a 1x1 convolution at stride 2 reads a quarter of its image.
        """
        used = self.batch_size * self.in_channels * math.prod(map(self._used, range(self.rank)))
        weights = math.prod(self.weight_shape) + self.out_channels * self.bias
        return itemsize * (used + weights + math.prod(self.output_shape))

    def _used(self, dim: int) -> int:
        """Return how many input positions along one dimension at least one output reads.

        Tap j of output o reads position `o * stride + j * dilation - padding`. Per remainder of
        the offsets by the stride, each tap reads an interval; the union of the intervals counts.
        """
        stride, padding = self.stride[dim], self.padding[dim]
        shifts: dict[int, list[int]] = {}
        for tap in range(self.kernel_size[dim]):
            shift, remainder = divmod(tap * self.dilation[dim], stride)
            shifts.setdefault(remainder, []).append(shift)
        used = 0
        for remainder, starts in shifts.items():
            reached = -((remainder - padding) // stride)  # the first one inside the image
            end = (self.input_size[dim] - 1 - remainder + padding) // stride + 1
            for start in starts:
                stop = min(start + self.output_size[dim], end)
                used += max(0, stop - max(start, reached))
                reached = max(reached, stop)
        return used

    def arithmetic_intensity(self, itemsize: int = 4) -> float:
        """Return FLOPs per byte: `flops / min_bytes` (Williams et al. 2009, Roofline)."""
        return self.flops / self.min_bytes(itemsize)

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is 1 in every dimension: one matrix product over pixels."""
        return all(k == 1 for k in self.kernel_size)

    @property
    def is_depthwise(self) -> bool:
        """Whether every input channel is a group of its own."""
        return 1 < self.groups == self.in_channels

    @property
    def is_fully_connected(self) -> bool:
        """Whether its kernel, above 1, covers the padded input: a fully connected layer."""
        sizes = (self.input_size, self.padding, self.dilation, self.kernel_size)
        return (
            self.groups == 1
            and not self.is_pointwise
            and all(i + 2 * p == d * (k - 1) + 1 for i, p, d, k in zip(*sizes, strict=True))
        )

    def strided(self, x: _Array) -> _Array:
        """Return every stride-th pixel of `x` (N, C, *input_size), as a view."""
        if all(s == 1 for s in self.stride):
            return x
        view: _Array = x[(..., *(slice(None, None, s) for s in self.stride))]  # type: ignore[index]
        return view

    @property
    def label(self) -> str:
        """Complete name, such as `n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0`."""
        size, kernel, stride, padding, dilation = (format_size(getattr(self, n)) for n in _SIZES)
        return (
            f"n{self.batch_size}_ci{self.in_channels}_co{self.out_channels}_i{size}_k{kernel}"
            f"_s{stride}_p{padding}_d{dilation}_g{self.groups}_b{int(self.bias)}"
        )

    @classmethod
    def parse(cls, label: str) -> ConvProblem:
        """Return the problem with this label; raise `ValueError` for any other text."""
        match = _LABEL.fullmatch(label)
        if match is None:
            raise ValueError(
                f"{label!r} is not a problem's label such as "
                "n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0"
            )
        values: dict[str, Any] = {
            name: parse_size(text) if name in _SIZES else int(text)
            for name, text in match.groupdict().items()
        }
        return cls(**values)


def _integer(name: str, value: int, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number


def _size(name: str, value: int | Sequence[int], rank: int, least: int = 1) -> Size:
    if not isinstance(value, Sequence):
        return _shared((_integer(name, value, least),) * rank)
    if len(value) != rank or isinstance(value, str):
        raise ValueError(f"{name} must have {rank} numbers like input_size, not {value!r}")
    return _shared(tuple(_integer(name, number, least) for number in value))


@lru_cache(1024)
def _shared(size: Size) -> Size:
    """Return one object for equal sizes; a grid has thousands of them."""
    return size
