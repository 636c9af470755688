"""Bands of output rows: their plan, and the call of the kernels that compute them one by one."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from torch import Tensor

from convsweep.backends.base import Conv
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import Entry
from convsweep.backends.kernels.launch import launch, record
from convsweep.backends.kernels.layouts import as_planes_or_rows, output_maker, tells_layout
from convsweep.backends.kernels.products import PANEL, products_for
from convsweep.backends.kernels.vectors import FLOAT_BYTES
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem

LEAST_GAIN = 1.05
"""Gain in balance from which threads share panels: each of them then prepares the whole band."""


class BandPlan(NamedTuple):
    """Sizes of a 2-D problem, its division into bands, and addresses of data and machine code."""

    planes: int  # 1: contiguous; 0: channels_last
    images: int
    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    stride_y: int
    stride_x: int
    top: int  # rows of padding
    left: int  # columns of padding
    dilation_y: int
    dilation_x: int
    runs: int  # per kernel row
    taps: int  # per run
    reach: int  # input rows that one output row needs
    padded_width: int  # columns that all output columns need
    bands: int = 1  # of output rows of an image
    shares: int = 1  # of the panels of output channels
    padded_bytes: int = 0  # input rows of a band, with padding
    between_bytes: int = 0
    part_bytes: int = 0  # scratch per thread
    relu: int = 0  # bits of the bound of a ReLU; 0: none
    weights: int = 0
    start: int = 0
    micro_kernel: int = 0
    inner_relu: int = 0  # after the first part of a separable convolution; the rest is for it, too
    depthwise: int = 0  # its weights
    depthwise_start: int = 0
    depthwise_rows: int = 0
    depthwise_band: int = 0  # or in place, with a plan of its own
    depthwise_plan: int = 0
    offsets: int = 0


def sizes(problem: ConvProblem, taps: int) -> BandPlan:
    """Return the sizes of a problem, in runs of `taps` taps; it is one band without scratch."""
    (height, width), (out_height, out_width) = problem.input_size, problem.output_size
    (kernel_height, kernel_width), (stride_y, stride_x) = problem.kernel_size, problem.stride
    (top, left), (dilation_y, dilation_x) = problem.padding, problem.dilation
    return BandPlan(
        planes=1,
        images=problem.batch_size,
        channels=problem.in_channels,
        height=height,
        width=width,
        out_channels=problem.out_channels,
        out_height=out_height,
        out_width=out_width,
        kernel_height=kernel_height,
        stride_y=stride_y,
        stride_x=stride_x,
        top=top,
        left=left,
        dilation_y=dilation_y,
        dilation_x=dilation_x,
        runs=kernel_width // taps,
        taps=taps,
        reach=(kernel_height - 1) * dilation_y + 1,
        padded_width=(out_width - 1) * stride_x + (kernel_width - 1) * dilation_x + 1,
    )


def _imbalance(units: int, parts: int) -> float:
    """Return the largest share of a thread relative to the mean."""
    return -(-units // parts) * parts / units


def divided(
    plan: BandPlan, parts: int, rows: int, padded_row: int, between_row: int = 0
) -> BandPlan:
    """Divide into bands of at most `rows` output rows that occupy `parts` threads.

    Threads share the panels of a band if they cannot share its rows evenly. Scratch is counted in
    floats, per input row of `padded_row`, per output row of `between_row` and of a panel.
    """
    bands = -(-plan.out_height // max(1, rows))
    whole, panels = plan.images * bands, -(-plan.out_channels // PANEL)
    sharing = parts // whole if parts % whole == 0 else 1  # threads per band
    by_panels, by_rows = _imbalance(panels, sharing), _imbalance(plan.out_height, parts)
    if whole % parts and (sharing == 1 or by_rows < LEAST_GAIN * by_panels):
        bands = min(plan.out_height, -(-bands // parts) * parts)
        whole = plan.images * bands
    rows = -(-plan.out_height // bands)
    padded_rows = (rows - 1) * plan.stride_y + plan.reach
    floats = (padded_rows * padded_row, rows * between_row, rows * plan.out_width * PANEL)
    line = buffers.ALIGNMENT_BYTES
    padded, between, tile = (-(-FLOAT_BYTES * n // line) * line for n in floats)
    return plan._replace(
        bands=bands,
        shares=1 if whole >= parts else parts if parts % whole else parts // whole,
        padded_bytes=padded,
        between_bytes=between,
        part_bytes=padded + between + tile,
    )


def convolution(
    name: str,
    problem: ConvProblem,
    plan: BandPlan,
    parts: int,
    worker: Entry,
    data: Mapping[str, Tensor],
    fields_for: Callable[[bool], Mapping[str, int]] = lambda planes: {},
) -> Conv:
    """Return the call of a worker, which finds constant data and machine code in its plan.

    `fields_for` returns those of the plan that depend on the layout, planes or not.
    """

    @cache
    def plan_for(planes: bool) -> Tensor:
        addresses = {name: tensor.data_ptr() for name, tensor in data.items()}
        complete = plan._replace(planes=planes, **addresses, **fields_for(planes))
        return record(complete, micro_kernel=products_for(data["weights"]))

    planes_or_rows = step("layout")(as_planes_or_rows)
    new_output = step("allocate")(output_maker(problem.output_shape))
    convolve = step("kernel")(launch)

    def conv(x: Tensor) -> Tensor:
        x, planes = planes_or_rows(x, problem.input_shape)
        y = new_output(planes)
        scratch = buffers.scratch("bands", parts * plan.part_bytes // FLOAT_BYTES)
        convolve(worker, parts, plan_for(planes), x, y, scratch)
        return y

    name = f"{name} taps={plan.taps} panel={PANEL}"
    return tells_layout(conv, problem.input_shape, (name, 2), (name, 0))
