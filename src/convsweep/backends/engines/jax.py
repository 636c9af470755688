"""JAX: a convolution compiled by XLA for one problem and one layout of its input."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from convsweep.backends.base import Conv, Weights
from convsweep.backends.engines.adapters import example, is_channels_last, made_for_each
from convsweep.problems.problem import ConvProblem

_POOL = "NPROC"  # how many threads XLA's pool has, read once a process


def convolution(problem: ConvProblem, weights: Weights) -> Conv:
    """The problem jitted, its weights constants, with as many threads as PyTorch has now.

    XLA compiles it here, in the layout of the weights, not at the first call.

    Raises:
        RuntimeError: XLA's pool was made with other threads than PyTorch has now.
    """
    threads = torch.get_num_threads()
    if _pool() != threads:
        raise RuntimeError(f"XLA has {_pool()} threads in this process for good, not {threads}")

    def make(channels_last: bool) -> Conv:
        return _jitted(problem, weights, channels_last)

    return made_for_each(make, is_channels_last(weights.dense), problem.input_shape)


@cache
def _pool() -> int:
    """Make XLA's pool, once a process, with as many threads as PyTorch has then; how many."""
    import jax

    threads, before = torch.get_num_threads(), os.environ.get(_POOL)
    os.environ[_POOL] = str(threads)
    try:
        jax.devices("cpu")
    finally:
        del os.environ[_POOL]
        if before is not None:
            os.environ[_POOL] = before
    return threads


def _jitted(problem: ConvProblem, weights: Weights, channels_last: bool) -> Conv:
    import jax

    spatial = "DHW"[-problem.rank :]
    layout = f"N{spatial}C" if channels_last else f"NC{spatial}"
    cpu = jax.devices("cpu")[0]
    weight = jax.device_put(weights.dense.contiguous().numpy(), cpu)
    bias = None
    if weights.bias is not None:
        ones = [1] * problem.rank
        shape = (*ones, -1) if channels_last else (-1, *ones)
        bias = jax.device_put(weights.bias.view(shape).numpy(), cpu)

    def define(x: Any) -> Any:
        y = jax.lax.conv_general_dilated(
            x,
            weight,
            problem.stride,
            [(p, p) for p in problem.padding],
            rhs_dilation=problem.dilation,
            dimension_numbers=(layout, f"OI{spatial}", layout),
            feature_group_count=problem.groups,
        )
        return y if bias is None else y + bias

    jitted = jax.jit(define)

    def conv(x: Tensor) -> Tensor:
        x = x.detach()
        x = x.movedim(1, -1) if channels_last else x
        y: Tensor = from_dlpack(jitted(jax.dlpack.from_dlpack(x)).block_until_ready())
        return y.movedim(-1, 1) if channels_last else y

    conv(example(problem, channels_last))  # compiles
    return conv
