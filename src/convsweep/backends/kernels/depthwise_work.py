"""Plan of depthwise workers, each compiled for one tile shape, and the end of their outputs."""

from typing import Any, NamedTuple

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.launch import worker_with
from convsweep.backends.kernels.layouts import clip_floats
from convsweep.backends.kernels.streaming import copy_past_caches
from convsweep.backends.kernels.vectors import FLOAT_BYTES


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
    relu: int  # bits of the bound of a ReLU; 0: none


WORKER = worker_with(DepthwisePlan)


@inlined
def finish(p: Any, piece: int, y: int, floats: int) -> None:
    """Compute ReLU of adjacent outputs, and copy them to `y` past the caches if streamed."""
    if p.relu:
        clip_floats(piece if p.streamed else y, floats, p.relu)
    if p.streamed:
        copy_past_caches(piece, y, floats * FLOAT_BYTES)
