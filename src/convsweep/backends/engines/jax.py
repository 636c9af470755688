"""JAX: a convolution compiled by XLA for one problem and one input layout."""

import os
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from convsweep.backends.base import Conv, Implementation, Weights, tells
from convsweep.backends.engines.adapters import example, for_each_layout
from convsweep.backends.tensor_layout import is_channels_last
from convsweep.problems.problem import ConvProblem

_INSTRUCTION = re.compile(
    r"^ +(?:ROOT )?%([\w-]+)[\w.-]* = (?:\(.*?\)|\S+) ([\w-]+)\(", re.MULTILINE
)
_NO_WORK = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element")
_THREADS_VARIABLE = "NPROC"  # threads of XLA's pool, read once per process


def convolution(problem: ConvProblem, weights: Weights) -> Conv:
    """Compile the problem for the layout of the weights, which become constants.

    Raises:
        RuntimeError: XLA's thread pool has another size than PyTorch has threads now.
    """
    threads = torch.get_num_threads()
    if _pool_threads() != threads:
        raise RuntimeError(
            f"XLA's pool has {_pool_threads()} threads in this process, not {threads}: "
            "use another process"
        )
    make = partial(_jitted, problem, weights)
    dense = weights.dense
    return for_each_layout(make, is_channels_last(dense), problem.input_shape, dense.dtype)


@cache
def _pool_threads() -> int:
    """Start XLA's pool with PyTorch's current thread count; return that of the first call."""
    import jax

    threads, before = torch.get_num_threads(), os.environ.get(_THREADS_VARIABLE)
    os.environ[_THREADS_VARIABLE] = str(threads)
    try:
        jax.devices("cpu")
        use_float64: Callable[[str, bool], None] = jax.config.update
        use_float64("jax_enable_x64", True)  # else JAX computes float64 in float32
    finally:
        del os.environ[_THREADS_VARIABLE]
        if before is not None:
            os.environ[_THREADS_VARIABLE] = before
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
            problem.margins,
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

    def implementation(x: Tensor) -> Implementation:
        x = x.detach()
        given = jax.dlpack.from_dlpack(x.movedim(1, -1) if channels_last else x)
        return _executed(jitted.lower(given).compile().as_text() or "")

    conv(example(problem, channels_last, weights.dense.dtype))  # compiles
    return tells(conv, implementation)


def _executed(program: str) -> Implementation:
    """Return the instructions of a compiled program, named as XLA names them; it has no times."""
    names, reorders = [], 0
    for name, operation in _INSTRUCTION.findall(program.partition("\nENTRY ")[2]):
        if "transpose" in name or "copy" in name:
            reorders += 1
        elif operation not in _NO_WORK:
            names.append(name)
    reason = "" if names else "XLA gives no program"
    return Implementation(" + ".join(names), reorders, reason=reason)
