"""Depthwise convolution on a GPU: each program computes a block of pixels and channels."""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels.triton_launch import empty_output, geometry
from convsweep.backends.tensor_layout import is_channels_last
from convsweep.problems.problem import ConvProblem

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


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
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
