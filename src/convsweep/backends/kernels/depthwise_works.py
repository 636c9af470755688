"""Ways to compute a depthwise convolution: worker, tile, bands and layout of the weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import Entry
from convsweep.backends.kernels.depthwise_channels import (
    PIXEL_BYTES,
    PIXEL_VECTORS,
    blocks_worker,
    rows_worker,
)
from convsweep.backends.kernels.depthwise_pixels import pixels_worker
from convsweep.backends.kernels.depthwise_planes import BUFFERS, planes_worker, sequences_worker
from convsweep.backends.kernels.pointwise import packed_panels
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.working_sets import working_sets
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine

ALIGNMENT = buffers.ALIGNMENT_BYTES // FLOAT_BYTES
MAX_TAPS = 64  # per line, as they are unrolled
PIECE = 1024  # outputs of a long row per unit of work
PIXELS_PIECE = 128  # of them, if each has all channels


@dataclass(frozen=True)
class KernelWork:
    """One way to compute a problem: a worker, and the parameters of its plan."""

    name: str
    worker: Entry
    weights: Tensor  # one row per channel, or per vector of channels
    offsets: list[int]  # of the kernel's lines, in bytes
    bands: int  # of each plane, block or row
    units: int  # of work, bands of all of them
    scratch_floats: int
    needed: int = 0  # columns of the padded input that are read
    pitch: int = 0  # columns per padded row
    band_floats: int = 0
    across: tuple[int, ...] = ()  # offsets of the columns of a kernel row, in bytes
    inside: tuple[int, int] = (0, 0)  # columns of outputs that tiles compute, if not all
    streamed: bool = False


def shared_taps(kernel: int, stride: int, dilation: int) -> int:
    """Return the taps per line that share inputs: all of the kernel's side, or one."""
    if stride == 1 and kernel <= MAX_TAPS:
        return kernel
    return kernel if stride == 2 and dilation == 1 and kernel <= 7 else 1


def tile_length(size: int, taps: int = 1) -> int:
    """Return the outputs per tile: sizes in networks are multiples of 7 or of 8, or small.

    More than 7 outputs and 7 taps would exceed the 16 registers of AVX2.
    """
    if size < 4:
        return 1
    if size < 7:
        return 4
    return 8 if size % 8 == 0 and size % 7 and taps <= 7 else 7


def columns_inside(problem: ConvProblem) -> tuple[int, int]:
    """Return the first output column whose window is inside the image, and the one after the last.

    There are none if the second number is not larger.
    """
    left, stride = problem.padding[1], problem.stride[1]
    last = problem.input_size[1] + left - problem.span[1]
    return -(-left // stride), last // stride + 1


def tile_edges(problem: ConvProblem) -> tuple[int, int] | None:
    """Return the inputs in the padding, per kernel row, of the first and the last tile of a row.

    Returns None for rows that are too short or in several bands, for taps that share no inputs, and
    for padding that reaches other tiles or differs between tiles that are `dilation` columns apart.
    """
    taps, stride, count, gap = channels_tile(problem)
    if taps == 1 or problem.output_size[1] >= 2 * PIXELS_PIECE:
        return None
    (_, width), (_, out_width) = problem.input_size, problem.output_size
    places = (count - 1) * stride + taps
    found = set()
    for first in range(gap):
        length = (out_width - first + gap - 1) // gap
        starts = sorted({*range(0, length - count, count), length - count})
        lefts = [first + start * stride * gap - problem.padding[1] for start in starts]
        before = [max(0, -(left // gap)) for left in lefts]
        behind = [max(0, places + (left - width) // gap) for left in lefts]
        if length < count or any(before[1:]) or any(behind[:-1]):
            return None
        found.add((before[0], behind[-1]))
    return found.pop() if len(found) == 1 else None


def exceed_caches(machine: Machine, *shapes: Sequence[int]) -> bool:
    """Return whether tensors exceed the last cache, so that the output should not stay there."""
    return sum(map(math.prod, shapes)) * FLOAT_BYTES > machine.last_cache_bytes


def _bands(problem: ConvProblem, row_bytes: int, limit: int, least: int) -> tuple[int, int]:
    """Return the number of bands and their padded rows.

    A band has about `limit` padded bytes, at most twice as many, or `least` rows of outputs.
    """
    out_height, stride = problem.output_size[0], problem.stride[0]
    span = (problem.kernel_size[0] - 1) * problem.dilation[0] + 1
    rows = (limit // row_bytes - span) // stride + 1
    bands = max(1, out_height // min(max(least, rows), out_height))
    most = -(-out_height // bands)
    return bands, (most - 1) * stride + span


def _require_vector(size: int, name: str) -> None:
    if size < LANES:
        raise ValueError(f"needs at least {LANES} {name}, not {size}")


def _aligned(floats: int) -> int:
    return -(-floats // ALIGNMENT) * ALIGNMENT


def _line_offsets(problem: ConvProblem, row_bytes: int, across: list[int]) -> list[int]:
    """Return the offsets of all taps, row by row, from those of one row."""
    down = (i * problem.dilation[0] * row_bytes for i in range(problem.kernel_size[0]))
    return [row + column for row in down for column in across]


def planes_work(problem: ConvProblem, dense: Tensor, machine: Machine) -> KernelWork:
    """Return the work whose lanes are pixels of a row and whose taps are a kernel column."""
    (kernel_h, kernel_w), (stride_h, stride_w) = problem.kernel_size, problem.stride
    out_height, out_width = problem.output_size
    taps = shared_taps(kernel_h, stride_h, problem.dilation[0])
    gap = problem.dilation[0] if taps > 1 else 1
    count = tile_length(out_height // gap, taps)
    columns = [t * problem.dilation[1] for t in range(kernel_w)]
    needed = (max(out_width, LANES) - 1) * stride_w + columns[-1] + 1
    reach = max(needed, problem.padding[1] + problem.input_size[1])
    pitch = -(-reach // stride_w) // LANES * LANES + 3 * LANES
    row_bytes = pitch * stride_w * FLOAT_BYTES
    across = [(c % stride_w * pitch + c // stride_w) * FLOAT_BYTES for c in columns]
    kernels = dense.flatten(0, 1)  # (C, K_h, K_w)
    bands, rows = _bands(problem, row_bytes, working_sets(machine).plane, count * gap)
    band_floats = rows * row_bytes // FLOAT_BYTES
    streamed = exceed_caches(machine, problem.input_shape, problem.output_shape)
    tile_floats = (out_height // bands + 1) * max(LANES, out_width if streamed else 0)
    return KernelWork(
        name=f"planes taps={taps} tile={count}",
        worker=planes_worker(taps, stride_h if taps > 1 else 1, count),
        weights=(kernels.mT if taps > 1 else kernels).flatten(1),
        offsets=across if taps > 1 else _line_offsets(problem, row_bytes, across),
        bands=bands,
        units=problem.batch_size * problem.in_channels * bands,
        needed=needed,
        pitch=pitch,
        band_floats=band_floats,
        scratch_floats=_aligned(BUFFERS * band_floats + tile_floats),
        streamed=streamed,
    )


def sequences_work(problem: ConvProblem, dense: Tensor, machine: Machine) -> KernelWork:
    """Return the work on contiguous rows that are read in place."""
    _require_vector(problem.output_size[1], "columns of outputs")
    (height, _), (_, out_width) = problem.input_size, problem.output_size
    count = min(8, out_width // LANES)
    bands = max(1, out_width // PIECE)
    reach = problem.span[1] - 1
    band_floats = _aligned(count * LANES + reach + LANES)
    return KernelWork(
        name=f"sequences tile={count}",
        worker=sequences_worker(count),
        weights=dense.flatten(1),
        offsets=[t * problem.dilation[1] * FLOAT_BYTES for t in range(problem.kernel_size[1])],
        bands=bands,
        units=problem.batch_size * problem.in_channels * height * bands,
        needed=out_width + reach,
        band_floats=band_floats,
        scratch_floats=band_floats + _aligned(out_width // bands + 1),
        # Inputs are read in order: an output that fits into the cache does not slow them down.
        streamed=exceed_caches(machine, problem.output_shape),
    )


def pixels_work(problem: ConvProblem, dense: Tensor, machine: Machine) -> KernelWork:
    """Return the work on channels_last pixels that are read in place."""
    _require_vector(problem.in_channels, "channels")
    taps, stride, count, step = channels_tile(problem)
    out_height, out_width = problem.output_size
    pixel_bytes = problem.in_channels * FLOAT_BYTES
    across = [t * problem.dilation[1] * pixel_bytes for t in range(problem.kernel_size[1])]
    lines = across[:1] if taps > 1 else across
    streamed = exceed_caches(machine, problem.input_shape, problem.output_shape)
    bands = max(1, out_width // PIXELS_PIECE)
    edges = tile_edges(problem)
    return KernelWork(
        name=f"pixels taps={taps} tile={count}",
        worker=pixels_worker(taps, stride, count, step, *(edges or (0, 0))),
        weights=packed_panels(dense.flatten(1), LANES).flatten(1),
        offsets=_line_offsets(problem, problem.input_size[1] * pixel_bytes, lines),
        across=tuple(across),
        inside=columns_inside(problem) if edges is None else (0, out_width),
        bands=bands,
        units=problem.batch_size * out_height * bands,
        scratch_floats=_aligned((out_width // bands + 1) * problem.in_channels) if streamed else 0,
        streamed=streamed,
    )


def rows_work(problem: ConvProblem, dense: Tensor, machine: Machine) -> KernelWork:
    """Return the work whose lanes are channels of channels_last pixels."""
    out_width = problem.output_size[1]
    limit = working_sets(machine).block
    return _channels_work(problem, dense, rows_worker, PIXEL_VECTORS, PIXEL_BYTES, out_width, limit)


def blocks_work(problem: ConvProblem, dense: Tensor, machine: Machine) -> KernelWork:
    """Return the work whose lanes are channels, transposed from planes and back."""
    _require_vector(problem.in_channels, "channels")
    pixels = problem.output_size[0] * problem.output_size[1]
    limit = working_sets(machine).block
    return _channels_work(problem, dense, blocks_worker, 1, VECTOR_BYTES, pixels, limit)


def channels_tile(problem: ConvProblem) -> tuple[int, int, int, int]:
    """Return taps per line, stride, outputs, and the distance of the pixels that a tile reads."""
    stride, dilation, out_width = problem.stride[1], problem.dilation[1], problem.output_size[1]
    taps = shared_taps(problem.kernel_size[1], stride, dilation)
    if taps == 1:
        return 1, 1, tile_length(out_width), stride
    return taps, stride, tile_length(out_width // dilation, taps), dilation


def _channels_work(
    problem: ConvProblem, dense: Tensor, worker: Any, vectors: int, pixel_bytes: int, tile: int,
    limit: int,
) -> KernelWork:  # fmt: skip
    """Return work with `vectors` vectors of channels per block, and `tile` pixels of scratch.

    Padded bands have about `limit` bytes, at most twice as many, or one row of outputs.
    """
    (_, kernel_w), (_, stride_w) = problem.kernel_size, problem.stride
    (_, dilation_w), (_, out_width) = problem.dilation, problem.output_size
    taps, stride, count, step = channels_tile(problem)
    needed = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    pitch = max(needed, problem.padding[1] + problem.input_size[1]) + LANES
    row_bytes = pitch * pixel_bytes
    across = [t * dilation_w * pixel_bytes for t in range(kernel_w)]
    weights = packed_panels(dense.flatten(1), LANES).flatten(1)
    bands, rows = _bands(problem, row_bytes, limit, 1)
    band_floats = rows * row_bytes // FLOAT_BYTES
    return KernelWork(
        name=f"{worker.__name__.removesuffix('_worker')} taps={taps} tile={count}",
        worker=worker(taps, stride, count, step),
        weights=weights,
        offsets=_line_offsets(problem, row_bytes, across[:1] if taps > 1 else across),
        bands=bands,
        units=problem.batch_size * -(-len(weights) // vectors) * bands,
        needed=needed,
        pitch=pitch,
        band_floats=band_floats,
        scratch_floats=_aligned(band_floats + tile * LANES),
    )
