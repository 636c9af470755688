"""Convolutions on a GPU in any layout: an implicit matrix product, and a depthwise kernel.

The left matrix of the product is never stored. Rows are output pixels, columns are output channels.
The sum is over the taps of every input channel, which are read from the image during the product
(Chetlur et al. 2014, cuDNN). Each program of the depthwise kernel computes a block of pixels and
channels.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.tensor_layout import check_input, is_channels_last
from convsweep.problems.problem import ConvProblem


def empty_output(problem: ConvProblem, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return new memory for the output (N, C_out, *output_size), in the layout of `x`.

    Raises:
        ValueError: `x` has another shape than the problem, or another dtype than the weights.
    """
    check_input(x, problem.input_shape, dtype)
    format_ = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return torch.empty(problem.output_shape, dtype=x.dtype, device=x.device, memory_format=format_)


def geometry(problem: ConvProblem, x: Tensor, y: Tensor) -> tuple[int, ...]:
    """Return the arguments from `height` to `KERNEL_W`: sizes, strides of x and y, geometry."""
    sizes = (*problem.input_size, *problem.output_size, *x.stride(), *y.stride())
    steps = (*problem.stride, *problem.padding, *problem.dilation, *problem.kernel_size)
    return (*sizes, *steps)


_ROWS, _COLUMNS, _DEPTH = 64, 64, 32  # per block; a tensor core takes at least 16
_MIN_COLUMNS = 16


@triton.jit
def _triton_gemm(  # type: ignore[no-untyped-def]
    x_ptr, w_ptr, bias_ptr, y_ptr,  # w: (groups, K_h * K_w * C_in / groups, C_out / groups)
    rows, in_channels, out_channels,  # N * H_out * W_out, then channels per group
    height, width, out_height, out_width,
    x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w,  # strides in elements
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    image, pixel = row // (out_height * out_width), row % (out_height * out_width)
    out_h, out_w = pixel // out_width, pixel % out_width
    first_h, first_w = out_h * stride_h - pad_h, out_w * stride_w - pad_w
    there, known = row < rows, column < out_channels
    depth = KERNEL_H * KERNEL_W * in_channels
    x_ptr += group * in_channels * x_c
    w_ptr += group * depth * out_channels
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        k = start + tl.arange(0, DEPTH)
        tap, channel = k // in_channels, (k % in_channels).to(tl.int64)
        h = first_h[:, None] + (tap // KERNEL_W * dilation_h)[None, :]
        w = first_w[:, None] + (tap % KERNEL_W * dilation_w)[None, :]
        inside = there[:, None] & (k < depth)[None, :]
        inside &= (h >= 0) & (h < height) & (w >= 0) & (w < width)
        x_ptrs = x_ptr + image[:, None] * x_n + channel[None, :] * x_c + h * x_h + w * x_w
        x = tl.load(x_ptrs, inside, 0.0)
        w_ptrs = w_ptr + k.to(tl.int64)[:, None] * out_channels + column[None, :]
        weights = tl.load(w_ptrs, (k < depth)[:, None] & known[None, :], 0.0)
        total = tl.dot(x, weights, total, input_precision="ieee")
    out = group * out_channels + column
    if BIAS:
        total += tl.load(bias_ptr + out, known, 0.0).to(tl.float32)[None, :]
    y_ptrs = y_ptr + (image * y_n + out_h * y_h + out_w * y_w)[:, None] + out[None, :] * y_c
    tl.store(y_ptrs, total.to(y_ptr.dtype.element_ty), there[:, None] & known[None, :])


def prepare_gemm(problem: ConvProblem, weights: Weights) -> Conv:
    """Make one matrix per group, taps before channels as the kernel reads them."""
    groups = problem.groups
    in_channels, out_channels = problem.in_channels // groups, problem.out_channels // groups
    # (groups, K_h * K_w * C_in / groups, C_out / groups)
    grouped = weights.dense.unflatten(0, (groups, out_channels))
    matrices = grouped.permute(0, 3, 4, 2, 1).flatten(1, 3).contiguous()
    columns = min(_COLUMNS, max(_MIN_COLUMNS, triton.next_power_of_2(out_channels)))

    def conv(x: Tensor) -> Tensor:
        y = empty_output(problem, x, weights.dense.dtype)
        rows = y.numel() // problem.out_channels
        grid = (triton.cdiv(rows, _ROWS), triton.cdiv(out_channels, columns), groups)
        arguments: tuple[Any, ...] = (
            *(x, matrices, matrices if weights.bias is None else weights.bias, y),
            *(rows, in_channels, out_channels),
            *geometry(problem, x, y),
        )
        _triton_gemm[grid](
            *arguments,
            BIAS=weights.bias is not None,
            ROWS=_ROWS,
            COLUMNS=columns,
            DEPTH=_DEPTH,
            enable_fp_fusion=True,
        )
        return y

    return conv


_ELEMENTS = 256  # outputs per program


@triton.jit
def _triton_depthwise(  # type: ignore[no-untyped-def]
    x_ptr, w_ptr, bias_ptr, y_ptr,  # w: (C_out, K_h * K_w)
    channels, per_group,  # output channels, in all and per input channel
    height, width, out_height, out_width,
    x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w,  # strides in elements
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, BIAS: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    row, column = pixel // out_width, pixel % out_width
    there, known = pixel < out_height * out_width, channel < channels
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    x_ptrs = x_ptr + image * x_n + (channel // per_group).to(tl.int64)[None, :] * x_c
    for i in range(KERNEL_H):
        h = row * stride_h - pad_h + i * dilation_h
        for j in range(KERNEL_W):
            w = column * stride_w - pad_w + j * dilation_w
            inside = there & (h >= 0) & (h < height) & (w >= 0) & (w < width)
            x = tl.load(
                x_ptrs + (h * x_h + w * x_w)[:, None], inside[:, None] & known[None, :], 0.0
            )
            tap = tl.load(w_ptr + (channel * KERNEL_H + i) * KERNEL_W + j, known, 0.0)
            total += x.to(tl.float32) * tap.to(tl.float32)[None, :]
    if BIAS:
        total += tl.load(bias_ptr + channel, known, 0.0).to(tl.float32)[None, :]
    y_ptrs = y_ptr + image * y_n + channel.to(tl.int64)[None, :] * y_c
    y_ptrs += (row * y_h + column * y_w)[:, None]
    tl.store(y_ptrs, total.to(y_ptr.dtype.element_ty), there[:, None] & known[None, :])


def prepare_depthwise(problem: ConvProblem, weights: Weights) -> Conv:
    """Bind the kernel to its weights, for any strides of the input."""
    taps = weights.dense.flatten(1).contiguous()  # (C_out, K_h * K_w)
    # Neighbouring threads read neighbouring elements.
    widest = min(64, triton.next_power_of_2(problem.out_channels))

    def conv(x: Tensor) -> Tensor:
        y = empty_output(problem, x, weights.dense.dtype)
        channels = widest if is_channels_last(y) else 1
        pixels = _ELEMENTS // channels
        grid = (
            triton.cdiv(y[0, 0].numel(), pixels),
            triton.cdiv(problem.out_channels, channels),
            problem.batch_size,
        )
        arguments: tuple[Any, ...] = (
            *(x, taps, taps if weights.bias is None else weights.bias, y),
            problem.out_channels,
            problem.out_channels // problem.in_channels,
            *geometry(problem, x, y),
        )
        _triton_depthwise[grid](
            *arguments,
            BIAS=weights.bias is not None,
            PIXELS=pixels,
            CHANNELS=channels,
            enable_fp_fusion=True,
        )
        return y

    return conv
