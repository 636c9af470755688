"""Shape of one convolution, and the numbers that follow from it.

In 2-D, with kernel W, input x and output y (taps outside of the image read zeros):

    y[n, o, h, w] = bias[o] + sum over c, i, j of W[o, c, i, j] * x[n, first(o) + c, row, column]
    row = h * stride + i * dilation - padding, and the same for the column
    first(o) = first input channel of the group that o belongs to

If transposed, each W[c, o, i, j] * x[n, c, h, w] is added to y[n, o, row, column] instead.

Source: Dumoulin & Visin 2016, A guide to convolution arithmetic for deep learning.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from convsweep.problems.used_inputs import count_read, count_spread
from convsweep.problems.whole_numbers import whole_number, whole_numbers

Size = tuple[int, ...]  # One number per spatial dimension

_MAX_SIZE = 10**7  # along one dimension
_MAX_COUNT = 2**63  # integers of a CSV column are below

_LABEL = re.compile(
    r"n(?P<batch_size>\d+)_ci(?P<in_channels>\d+)_co(?P<out_channels>\d+)"
    r"_i(?P<input_size>[\dx]+)_k(?P<kernel_size>[\dx]+)_s(?P<stride>[\dx]+)"
    r"_p(?P<padding>[\dx]+)_d(?P<dilation>[\dx]+)_g(?P<groups>\d+)_b(?P<bias>[01])"
    r"(_e(?P<padding_end>[\dx]+))?(_t(?P<output_padding>[\dx]+))?",
    re.ASCII,
)
_SIZES = ("input_size", "kernel_size", "stride", "padding", "dilation")
_TEXTS = (*_SIZES, "padding_end", "output_padding")
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
    `padding` zeros are before the image and `padding_end` behind it, by default as many. A
    `transposed` convolution has weights (C_in, C_out / groups, *kernel_size), and `output_padding`
    more outputs at the end. Raises `ValueError` for a shape that no convolution has.
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
    padding_end: Size
    transposed: bool
    output_padding: Size

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
        padding_end: int | Sequence[int] | None = None,
        transposed: bool = False,
        output_padding: int | Sequence[int] = 0,
    ) -> None:
        if not isinstance(input_size, Sequence) or not 1 <= len(input_size) <= 3:
            raise ValueError(f"input_size must be 1, 2 or 3 whole numbers, not {input_size!r}")
        for name, flag in {"bias": bias, "transposed": transposed}.items():
            if flag not in (0, 1):
                raise ValueError(f"{name} must be true or false, not {flag!r}")
        rank = len(input_size)
        values: dict[str, Any] = {
            "in_channels": whole_number("in_channels", in_channels),
            "out_channels": whole_number("out_channels", out_channels),
            "input_size": whole_numbers("input_size", input_size, rank),
            "kernel_size": whole_numbers("kernel_size", kernel_size, rank),
            "batch_size": whole_number("batch_size", batch_size),
            "stride": whole_numbers("stride", stride, rank),
            "padding": whole_numbers("padding", padding, rank, least=0),
            "dilation": whole_numbers("dilation", dilation, rank),
            "groups": whole_number("groups", groups),
            "bias": bool(bias),
            "transposed": bool(transposed),
            "output_padding": whole_numbers("output_padding", output_padding, rank, least=0),
        }
        behind = values["padding"] if padding_end is None else padding_end
        values["padding_end"] = whole_numbers("padding_end", behind, rank, least=0)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._require_possible()

    def _require_possible(self) -> None:
        for name in ("in_channels", "out_channels"):
            if (channels := getattr(self, name)) % self.groups:
                raise ValueError(f"groups={self.groups} does not divide {name}={channels}")
        sizes = (self.input_size, self.kernel_size, self.padding, self.padding_end, self.dilation)
        if max(map(max, sizes)) > _MAX_SIZE:
            raise ValueError(f"{self.label} has a size above {_MAX_SIZE}, the largest allowed")
        self._require_transposable()
        if min(self.output_size) < 1:
            padded = map(sum, zip(self.input_size, self.padding, self.padding_end, strict=True))
            raise ValueError(
                f"kernel_size {format_size(self.kernel_size)} at dilation "
                f"{format_size(self.dilation)} spans {format_size(self.span)}, larger than the "
                f"padded input {format_size(tuple(padded))}"
            )
        elements = map(math.prod, (self.input_shape, self.weight_shape, self.output_shape))
        if max(self.macs, 8 * sum(elements)) >= _MAX_COUNT:
            raise ValueError(f"{self.label} has 2**63 or more multiply-accumulates or bytes")

    def _require_transposable(self) -> None:
        if not self.transposed:
            if any(self.output_padding):
                raise ValueError("output_padding needs a transposed convolution")
            return
        if self.padding_end != self.padding:
            raise ValueError("padding_end of a transposed convolution must be its padding")
        steps = map(max, self.stride, self.dilation)
        if any(map(operator.ge, self.output_padding, steps)):
            raise ValueError(
                f"output_padding {format_size(self.output_padding)} must be below the stride "
                f"{format_size(self.stride)} or the dilation {format_size(self.dilation)}"
            )
        if any(map(operator.ge, self.padding, self.span)):
            raise ValueError(
                f"padding {format_size(self.padding)} of a transposed convolution must be below "
                f"{format_size(self.span)}, the span of its kernel"
            )
        if min(self.output_size) < 1:
            raise ValueError(f"{self.label} has no output")

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input_size)

    @property
    def output_size(self) -> Size:
        """Per dimension: floor((input + padding of both ends - span) / stride) + 1.

        If transposed, (input - 1) stride - 2 padding + span + output_padding.
        """
        axes = zip(self.input_size, self.span, self.stride, self.margins, strict=True)
        if self.transposed:
            full = ((i - 1) * s - sum(both) + span for i, span, s, both in axes)
            return tuple(map(operator.add, full, self.output_padding))
        return tuple((i + sum(both) - span) // s + 1 for i, span, s, both in axes)

    @property
    def span(self) -> Size:
        """Number of positions that the kernel covers per dimension: dilation (kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and behind the image per dimension."""
        return tuple(zip(self.padding, self.padding_end, strict=True))

    @property
    def input_shape(self) -> Size:
        """(N, C_in, H, W) in 2-D."""
        return (self.batch_size, self.in_channels, *self.input_size)

    @property
    def weight_shape(self) -> Size:
        """(C_out, C_in / groups, K_h, K_w) in 2-D; (C_in, C_out / groups, ...) if transposed."""
        if self.transposed:
            return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def output_shape(self) -> Size:
        """(N, C_out, H_out, W_out) in 2-D."""
        return (self.batch_size, self.out_channels, *self.output_size)

    @property
    def taps(self) -> int:
        """Products per output element: (C_in / groups) * K_h * K_w in 2-D; fewer if transposed."""
        return self.in_channels // self.groups * math.prod(self.kernel_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulates: N * C_out * H_out * W_out * taps, padded taps counted.

        If transposed, one per input element and weight of its channel, cropped outputs counted.
        """
        if self.transposed:
            return math.prod(self.input_shape) * math.prod(self.weight_shape[1:])
        return math.prod(self.output_shape) * self.taps

    @property
    def flops(self) -> int:
        """Floating-point operations: two per multiply-accumulate."""
        return 2 * self.macs

    def min_bytes(self, itemsize: int = 4) -> int:
        """Return the least memory traffic: used inputs, weights and outputs, each moved once.

        Not every input is used: a 1x1 convolution at stride 2 reads a quarter of its image.
        """
        axes = (self.input_size, self.output_size, self.kernel_size, self.stride, self.padding)
        used = map(count_spread if self.transposed else count_read, *axes, self.dilation)
        inputs = self.batch_size * self.in_channels * math.prod(used)
        weights = math.prod(self.weight_shape) + self.out_channels * self.bias
        return itemsize * (inputs + weights + math.prod(self.output_shape))

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
        padded = map(sum, zip(self.input_size, self.padding, self.padding_end, strict=True))
        is_kernel = self.groups == 1 and not (self.is_pointwise or self.transposed)
        return is_kernel and tuple(padded) == self.span

    def strided(self, x: _Array) -> _Array:
        """Return every stride-th pixel of `x` (N, C, *input_size), as a view."""
        if all(s == 1 for s in self.stride):
            return x
        view: _Array = x[(..., *(slice(None, None, s) for s in self.stride))]  # type: ignore[index]
        return view

    @property
    def label(self) -> str:
        """Complete name, such as `n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0`.

        `_e2x2` follows for another `padding_end`; `_t`, `output_padding` if transposed.
        """
        size, kernel, stride, padding, dilation = (format_size(getattr(self, n)) for n in _SIZES)
        end = f"_e{format_size(self.padding_end)}" if self.padding_end != self.padding else ""
        end += f"_t{format_size(self.output_padding)}" if self.transposed else ""
        return (
            f"n{self.batch_size}_ci{self.in_channels}_co{self.out_channels}_i{size}_k{kernel}"
            f"_s{stride}_p{padding}_d{dilation}_g{self.groups}_b{int(self.bias)}{end}"
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
            name: parse_size(text) if name in _TEXTS else int(text)
            for name, text in match.groupdict().items()
            if text is not None
        }
        return cls(**values, transposed="output_padding" in values)
