"""kn2row: one 1x1 convolution per tap, its result shifted and added, without columns.

Vasudevan, Anderson & Gregg 2017, Parallel Multi Channel Convolution using General Matrix
Multiplication, in its accumulating form.
"""

from itertools import product
from math import prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.backends.steps import bias_step, step
from convsweep.problems.problem import ConvProblem


def shift(
    tap: int, size: int, out: int, padding: int, stride: int, dilation: int
) -> tuple[slice, slice]:
    """Return the outputs along an axis that a tap adds to, and the inputs that it reads for them.

    Output o reads input `o * stride + offset`. Inputs outside the image are left out.
    """
    offset = tap * dilation - padding
    first = max(0, -(offset // stride))
    last = min(out - 1, (size - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last + 1), slice(start, last * stride + offset + 1, stride)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Make one matrix (G, C_out / G, C_in / G) per tap, with its outputs and inputs."""
    from convsweep.backends.tensor_layout import in_layout_of

    groups = problem.groups
    sizes = problem.kernel_size, problem.input_size, problem.output_size
    axes = zip(*sizes, problem.padding, problem.stride, problem.dilation, strict=True)
    shifts = product(*([shift(tap, *axis) for tap in range(k)] for k, *axis in axes))
    kernels = weights.dense.flatten(2).unbind(2)  # prod(kernel_size) matrices (C_out, C_in / G)
    taps = [
        (kernel.reshape(groups, -1, kernel.shape[1]), *zip((..., ...), *axis_shifts, strict=True))
        for kernel, axis_shifts in zip(kernels, shifts, strict=True)
    ]
    pixels_shape = (problem.batch_size, groups, -1, prod(problem.input_size))
    full_shape = (*problem.output_shape[:2], *problem.input_size)
    with_bias = bias_step(weights.bias, problem.rank)

    multiplied = step("product")(lambda matrix, pixels: (matrix @ pixels).reshape(full_shape))
    add = step("shift")(lambda y, outputs, full, inputs: y[outputs].add_(full[inputs]))
    layout_of = step("layout")(in_layout_of)

    def conv(x: Tensor) -> Tensor:
        pixels = x.flatten(2).reshape(pixels_shape)
        y = x.new_zeros(problem.output_shape)
        for matrix, outputs, inputs in taps:
            add(y, outputs, multiplied(matrix, pixels), inputs)
        return layout_of(x, with_bias(y))

    return conv


def macs(problem: ConvProblem) -> int:
    """Return one product per tap and input pixel; the stride saves none."""
    return problem.batch_size * problem.out_channels * problem.taps * prod(problem.input_size)


BACKEND = Backend(
    name="kn2row",
    prepare=prepare,
    macs=macs,
    own_padding_end=True,
    source="Vasudevan, Anderson & Gregg 2017, Parallel Multi Channel Convolution using GEMM",
    family="algorithms",
)
