"""Three phases of Winograd convolution for 3x3 kernels: transform inputs, multiply, transform back.

Images are divided into tiles of `tile` x `tile` outputs, whose inputs overlap by 2. A row of tiles
is a band; several bands are a block. Data between phases is `[frequency][channel block]
[tile of the block][LANES]`. Arguments are raw addresses; steps are in bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from numba import carray, prange, types

from convsweep.backends.kernels.compiling import Entry, inlined, kernel, parallel_kernel, run
from convsweep.backends.kernels.launch import plan_pointer
from convsweep.backends.kernels.layouts import (
    block_from_planes,
    block_from_rows,
    clear_vectors,
    clip_vectors,
    planes_from_rows,
    rows_from_rows,
)
from convsweep.backends.kernels.products import PANEL, PANEL_BYTES, PANEL_VECTORS, products
from convsweep.backends.kernels.small_matrices import times, times_plus
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    call_address,
    intrinsic,
)
from convsweep.backends.kernels.winograd_tiles import OVERLAP, TILES
from convsweep.backends.steps import StepName
from convsweep.backends.winograd_transforms import transforms


class WinogradPlan(NamedTuple):
    """Tiles of a problem: sizes, steps in bytes, and addresses of constant data."""

    tile: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    padding_y: int
    padding_x: int
    tiles_x: int
    bands_of_image: int
    bands: int
    bands_of_block: int
    input_step: int
    output_step: int
    tiles_bytes: int
    lines_bytes: int
    channels_last: int = 0
    relu: int = 0
    weights: int = 0
    bias: int = 0  # then a panel of zeros
    input_transform: int = 0
    product: int = 0
    output_transform: int = 0
    micro_kernel: int = 0


_WORKER = types.void(plan_pointer(WinogradPlan), *[types.int64] * 8)


@intrinsic
def _call(
    typing: Any, entry: Any, plan: Any, x: Any, y: Any, tiles: Any, lines: Any,
    first: Any, last: Any, part: Any, parts: Any,
) -> Any:  # fmt: skip
    return types.void(types.int64, plan, *[types.int64] * 8), call_address


def _by_tile(products: Iterable[Any]) -> Any:
    """Return a function of a tile, and of the arguments of its product."""
    of_2, of_4, of_6 = products

    @inlined
    def multiply(tile: int, *addresses: int) -> None:
        if tile == 2:
            of_2(*addresses)
        elif tile == 4:
            of_4(*addresses)
        else:
            of_6(*addresses)

    return multiply


_TRANSFORMS = [transforms(tile) for tile in TILES]
_forward = _by_tile(times(t.B.T) for t in _TRANSFORMS)
_back = _by_tile(times(t.A.T) for t in _TRANSFORMS)
_back_plus = _by_tile(times_plus(t.A.T) for t in _TRANSFORMS)


@inlined
def _gather(plan: WinogradPlan, x: int, band: int, block: int, lines: int, line_step: int) -> None:
    """Copy up to `LANES` channels of a band's padded input to `[line][pixel][LANES]`."""
    image, first = band // plan.bands_of_image, band % plan.bands_of_image * plan.tile
    channel = block * LANES
    channels = min(LANES, plan.in_channels - channel)
    plane_step = plan.height * plan.width * FLOAT_BYTES
    columns = line_step // VECTOR_BYTES
    for i in range(plan.tile + OVERLAP):
        line, row = lines + i * line_step, first + i - plan.padding_y
        if row < 0 or row >= plan.height:
            clear_vectors(line, columns)
            continue
        inside = line + plan.padding_x * VECTOR_BYTES
        clear_vectors(line, plan.padding_x)
        clear_vectors(inside + plan.width * VECTOR_BYTES, columns - plan.padding_x - plan.width)
        if plan.channels_last:
            pixel = (image * plan.height + row) * plan.width
            source = x + (pixel * plan.in_channels + channel) * FLOAT_BYTES
            block_from_rows(source, plan.in_channels * FLOAT_BYTES, channels, plan.width, inside)
        else:
            plane = image * plan.in_channels + channel
            source = x + plane * plane_step + row * plan.width * FLOAT_BYTES
            block_from_planes(source, plane_step, channels, plan.width, inside)


@inlined
def _scatter(plan: WinogradPlan, y: int, band: int, block: int, lines: int, line_step: int) -> None:
    """Copy up to `LANES` channels of a band's results, or their ReLU, to the output."""
    image, first = band // plan.bands_of_image, band % plan.bands_of_image * plan.tile
    channel = block * LANES
    channels = min(LANES, plan.out_channels - channel)
    plane_step = plan.out_height * plan.out_width * FLOAT_BYTES
    for i in range(min(plan.tile, plan.out_height - first)):
        line, row = lines + i * line_step, first + i
        if plan.relu:
            clip_vectors(line, VECTOR_BYTES, plan.out_width, plan.relu)
        if plan.channels_last:
            pixel = (image * plan.out_height + row) * plan.out_width
            target = y + (pixel * plan.out_channels + channel) * FLOAT_BYTES
            step = plan.out_channels * FLOAT_BYTES
            rows_from_rows(line, VECTOR_BYTES, channels, plan.out_width, target, step)
        else:
            plane = image * plan.out_channels + channel
            target = y + plane * plane_step + row * plan.out_width * FLOAT_BYTES
            planes_from_rows(line, VECTOR_BYTES, channels, plan.out_width, target, plane_step)


@inlined
def _band_forward(
    plan: WinogradPlan, x: int, band: int, block: int, lines: int, target: int
) -> None:
    """Transform up to `LANES` channels of a band's tiles."""
    size = plan.tile + OVERLAP
    columns = plan.tiles_x * plan.tile + OVERLAP
    line_step = columns * VECTOR_BYTES
    _gather(plan, x, band, block, lines, line_step)
    for column in range(columns):
        at = lines + column * VECTOR_BYTES
        _forward(plan.tile, at, line_step, at, line_step)
    for tile in range(plan.tiles_x):
        source = lines + tile * plan.tile * VECTOR_BYTES
        for i in range(size):
            _forward(
                plan.tile, source + i * line_step, VECTOR_BYTES,
                target + tile * VECTOR_BYTES + i * size * plan.input_step, plan.input_step,
            )  # fmt: skip


@inlined
def _band_back(plan: WinogradPlan, y: int, band: int, block: int, lines: int, source: int) -> None:
    """Transform up to `LANES` channels of a band's tiles back and add the bias."""
    size = plan.tile + OVERLAP
    line_step = plan.tiles_x * plan.tile * VECTOR_BYTES
    half_done, half_step = lines + plan.tile * line_step, size * VECTOR_BYTES
    bias = plan.bias + block * VECTOR_BYTES
    for tile in range(plan.tiles_x):
        for j in range(size):
            _back(
                plan.tile, source + tile * VECTOR_BYTES + j * plan.output_step,
                size * plan.output_step, half_done + j * VECTOR_BYTES, half_step,
            )  # fmt: skip
        for i in range(plan.tile):
            _back_plus(
                plan.tile, half_done + i * half_step, VECTOR_BYTES,
                lines + i * line_step + tile * plan.tile * VECTOR_BYTES, VECTOR_BYTES, bias,
            )  # fmt: skip
    _scatter(plan, y, band, block, lines, line_step)


@inlined
def _blocks_of(channels: int) -> int:
    return (channels + LANES - 1) // LANES


@inlined
def _block_step(plan: WinogradPlan) -> int:
    """Return the bytes between blocks of channels, for one frequency."""
    return plan.bands_of_block * plan.tiles_x * VECTOR_BYTES


@inlined
def _outputs_of(plan: WinogradPlan, tiles: int) -> int:
    """Return the address of the products, after the transformed inputs."""
    return tiles + (plan.tile + OVERLAP) ** 2 * plan.input_step


def _transform_inputs(
    plans: Any, x: int, y: int, tiles: int, lines: int, first: int, last: int, part: int, parts: int
) -> None:
    """Transform the inputs of bands first to last: one part of their channels."""
    plan = carray(plans, 1)[0]
    work, lines = (last - first) * _blocks_of(plan.in_channels), lines + part * plan.lines_bytes
    for i in range(work * part // parts, work * (part + 1) // parts):
        block, band = i // (last - first), i % (last - first)
        target = tiles + block * _block_step(plan) + band * plan.tiles_x * VECTOR_BYTES
        _band_forward(plan, x, first + band, block, lines, target)


def _multiply(
    plans: Any, x: int, y: int, tiles: int, lines: int, first: int, last: int, part: int, parts: int
) -> None:
    """Multiply: one part of the pairs of a frequency and a panel of output channels."""
    plan = carray(plans, 1)[0]
    panels = (plan.out_channels + PANEL - 1) // PANEL
    work, outputs = (plan.tile + OVERLAP) ** 2 * panels, _outputs_of(plan, tiles)
    nothing = plan.bias + panels * PANEL_BYTES
    step = _block_step(plan)
    for pair in range(work * part // parts, work * (part + 1) // parts):
        frequency, panel = pair // panels, pair % panels
        block = panel * PANEL_VECTORS
        vectors = min(PANEL_VECTORS, _blocks_of(plan.out_channels) - block)
        products(
            plan.micro_kernel,
            tiles + frequency * plan.input_step, VECTOR_BYTES, step,
            (last - first) * plan.tiles_x, plan.weights + pair * plan.in_channels * PANEL_BYTES,
            vectors, plan.in_channels, nothing, 0, VECTOR_BYTES,
            outputs + frequency * plan.output_step + block * step, VECTOR_BYTES, step,
        )  # fmt: skip


def _transform_back(
    plans: Any, x: int, y: int, tiles: int, lines: int, first: int, last: int, part: int, parts: int
) -> None:
    """Transform bands first to last back: one part of their channels."""
    plan = carray(plans, 1)[0]
    work, lines = (last - first) * _blocks_of(plan.out_channels), lines + part * plan.lines_bytes
    outputs = _outputs_of(plan, tiles)
    for i in range(work * part // parts, work * (part + 1) // parts):
        block, band = i // (last - first), i % (last - first)
        source = outputs + block * _block_step(plan) + band * plan.tiles_x * VECTOR_BYTES
        _band_back(plan, y, first + band, block, lines, source)


def _blocks(
    plans: Any, x: int, y: int, tiles: int, lines: int, first: int, last: int, part: int, parts: int
) -> None:
    """Run all phases for one part of the bands, block by block, each while it is in the cache."""
    plan, bands = carray(plans, 1)[0], last - first
    tiles, lines = tiles + part * plan.tiles_bytes, lines + part * plan.lines_bytes
    first, last = first + bands * part // parts, first + bands * (part + 1) // parts
    blocks = (last - first + plan.bands_of_block - 1) // plan.bands_of_block
    for block in range(blocks):  # of about equal sizes: each reads all weights
        start = first + (last - first) * block // blocks
        stop = first + (last - first) * (block + 1) // blocks
        _call(plan.input_transform, plans, x, y, tiles, lines, start, stop, 0, 1)
        _call(plan.product, plans, x, y, tiles, lines, start, stop, 0, 1)
        _call(plan.output_transform, plans, x, y, tiles, lines, start, stop, 0, 1)


PHASES: dict[StepName, Entry] = {
    "input_transform": Entry(_WORKER, _transform_inputs),
    "product": Entry(_WORKER, _multiply),
    "output_transform": Entry(_WORKER, _transform_back),
}
FUSED: dict[StepName, Entry] = {"kernel": Entry(_WORKER, _blocks)}


@kernel
def _alone(
    entry: int, plan: int, x: int, y: int, tiles: int, lines: int, first: int, last: int
) -> None:
    _call(entry, plan, x, y, tiles, lines, first, last, 0, 1)


@parallel_kernel
def _in_parallel(
    parts: int, entry: int, plan: int, x: int, y: int, tiles: int, lines: int, first: int, last: int
) -> None:
    for part in prange(parts):
        _call(entry, plan, x, y, tiles, lines, first, last, part, parts)


def start(worker: Entry, first: int, last: int, parts: int, addresses: Sequence[int]) -> None:
    """Run a worker for bands first to last.

    `addresses` are those of the plan, the input, the output, and the scratch for tiles and lines.
    """
    run(parts, _alone, _in_parallel, worker.address, *addresses, first, last)
