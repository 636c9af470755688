"""How depthwise kernels are started: plans, machine code for each kernel's shape, threads.

A worker is compiled for one shape of tile and started at its address, by one function for all
workers: what is compiled for threads, and takes long, is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import from_dtype, prange, set_num_threads, types
from torch import Tensor

from convsweep.backends.kernels.compiling import Entry, config, kernel, parallel_kernel
from convsweep.backends.kernels.vectors import intrinsic


class Plan(NamedTuple):
    """What a worker has to know of a problem beside its tile; sizes in elements or bytes."""

    images: int
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    top: int  # rows of padding above
    left: int  # columns of padding
    stride_h: int
    stride_w: int
    dilation_h: int
    kernel_h: int
    bands: int  # of output rows, of every plane or block of channels
    needed: int  # columns of the padded input that are read
    pitch: int  # columns that a row of scratch has room for
    band_bytes: int  # of a padded band
    scratch_bytes: int  # of one part
    offsets: int  # address of the lines' offsets
    lines: int
    weights: int  # address
    weights_step: int  # bytes of a channel's, or of a vector of channels'
    start: int  # address of the bias, or of zeros


RECORD = np.dtype([(name, np.int64) for name in Plan._fields])
_LONG = types.int64
WORKER = types.void(_LONG, _LONG, types.CPointer(from_dtype(RECORD)), _LONG, _LONG, _LONG)
"""(part, parts, plan, x, y, scratch): a part of the work, as all others do theirs."""


def worker(function: Callable[..., None]) -> Entry:
    """The function as a `WORKER`, compiled when it is first started."""
    return Entry(WORKER, function)


@intrinsic
def _call(
    typing: Any, entry: Any, part: Any, parts: Any, plan: Any, x: Any, y: Any, scratch: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = [argument.type for argument in args[1:]]
        kind = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@kernel
def _alone(entry: int, plan: int, x: int, y: int, scratch: int) -> None:
    _call(entry, 0, 1, plan, x, y, scratch)


@parallel_kernel
def _spread(entry: int, parts: int, plan: int, x: int, y: int, scratch: int) -> None:
    for part in prange(parts):
        _call(entry, part, parts, plan, x, y, scratch)


def threads() -> int:
    """How many threads a kernel that is prepared now is spread over."""
    most: int = config.NUMBA_NUM_THREADS
    return min(torch.get_num_threads(), most)


def start(worker: Entry, parts: int, record: Tensor, x: Tensor, y: Tensor, scratch: Tensor) -> None:
    """Let a worker do all its parts, each on a thread."""
    addresses = record.data_ptr(), x.data_ptr(), y.data_ptr(), scratch.data_ptr()
    if parts == 1:
        _alone(worker.address, *addresses)
        return
    set_num_threads(parts)
    _spread(worker.address, parts, *addresses)
