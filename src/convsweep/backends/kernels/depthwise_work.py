"""Launch of depthwise kernels: plans, workers and threads.

A worker is compiled for one tile shape. One function starts all workers at their addresses, so that
the parallel loop, which takes long to compile, is compiled once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, prange, types
from torch import Tensor

from convsweep.backends.kernels.compiling import Entry, inlined, kernel, parallel_kernel, run
from convsweep.backends.kernels.layouts import clip_floats
from convsweep.backends.kernels.streaming import copy_past_caches
from convsweep.backends.kernels.vectors import FLOAT_BYTES, call_address, intrinsic


class DepthwisePlan(NamedTuple):
    """Parameters of a worker besides its tile; sizes in elements or bytes."""

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
    dilation_w: int
    kernel_h: int
    kernel_w: int
    inside_first: int  # the first output column whose window is inside the image
    inside_last: int  # the one after the last
    bands: int  # of output rows, per plane or block of channels
    needed: int  # columns of the padded input that are read
    pitch: int  # columns per row of scratch
    band_bytes: int  # of a padded band
    scratch_bytes: int  # of one part
    offsets: int  # address of the lines' offsets
    lines: int
    weights: int  # address
    weights_step: int  # bytes per channel, or per vector of channels
    start: int  # address of the bias, or of zeros
    streamed: int  # 1: outputs leave the caches to inputs
    relu: int  # 1: ReLU of the outputs


RECORD = np.dtype([(name, np.int64) for name in DepthwisePlan._fields])
_LONG = types.int64
WORKER = types.void(_LONG, _LONG, types.CPointer(from_dtype(RECORD)), _LONG, _LONG, _LONG)
"""(part, parts, plan, x, y, scratch): does one part of the work."""


@intrinsic
def _call(
    typing: Any, entry: Any, part: Any, parts: Any, plan: Any, x: Any, y: Any, scratch: Any
) -> Any:
    return types.void(*[types.int64] * 7), call_address


@inlined
def finish(p: Any, piece: int, y: int, floats: int) -> None:
    """Compute ReLU of adjacent outputs, and copy them to `y` past the caches if streamed."""
    if p.relu:
        clip_floats(piece if p.streamed else y, floats)
    if p.streamed:
        copy_past_caches(piece, y, floats * FLOAT_BYTES)


@kernel
def _alone(entry: int, plan: int, x: int, y: int, scratch: int) -> None:
    _call(entry, 0, 1, plan, x, y, scratch)


@parallel_kernel
def _spread(parts: int, entry: int, plan: int, x: int, y: int, scratch: int) -> None:
    for part in prange(parts):
        _call(entry, part, parts, plan, x, y, scratch)


def start(worker: Entry, parts: int, record: Tensor, x: Tensor, y: Tensor, scratch: Tensor) -> None:
    """Run all parts of a worker, each on its own thread."""
    addresses = record.data_ptr(), x.data_ptr(), y.data_ptr(), scratch.data_ptr()
    run(parts, _alone, _spread, worker.address, *addresses)
