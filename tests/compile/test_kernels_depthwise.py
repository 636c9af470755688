"""The laws of the depthwise kernels, in the checked mode: red zones around every buffer."""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep.backends.kernels import depthwise, depthwise_works
from convsweep.backends.kernels.vectors import LANES
from convsweep.backends.registry import list_backends
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine
from tests.support.kernel_checks import (
    DRAWN,
    EXAMPLES,
    check_kernel,
    guarded_weights,
    relu_is_fused,
)
from tests.support.red_zones import guarded, red_zones

BACKEND = list_backends()["depthwise_numba"]
T = TypeVar("T")

FORMATS = ("contiguous", "channels_last")
WAYS = ("planes", "blocks", "pixels", "rows")
MACHINES = (Machine(), Machine(l1_bytes=2**10, l2_bytes=2**10, last_cache_bytes=0))

SIDES = (
    *((3, 3), (5, 5), (9,), (2, 4), (7, 7), (9, 9), (1, 5), (5, 1)),
    *((3, 7), (1, 1), (20,), (11, 4), (4, 2), (5, 3), (2,), (13, 31)),
)
STEPS = (1, 1, 2, 2, 3)
GAPS = (1, 1, 1, 2, 3)
MARGINS = (0, 0, 1, 1, 2, 3, 9)
# Sizes of tiles: outputs along a side, divided by the dilation.
OUTPUTS = ((1, 2, 3), (4, 5, 6), (7, 9, 10, 15, 17, 21, 22, 23), (8, 16, 24))
LENGTHS = (1, 5, 8, 17, 40, 63, 64, 65, 130, 700, 2048, 2100)


class Shape(NamedTuple):
    """The part of a problem that machine code depends on."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    padding_end: tuple[int, ...]
    outputs: tuple[tuple[int, ...], ...]


def shape_of(index: int) -> Shape:
    """The shape of this number: each has the next kernel size, and all else at random."""
    random, sides = Random(index), SIDES[index % len(SIDES)]

    def per_side(values: Sequence[T]) -> tuple[T, ...]:
        same = random.choice(values)
        return tuple(same if random.random() < 0.5 else random.choice(values) for _ in sides)

    padding = per_side(MARGINS)
    return Shape(
        sides,
        per_side(STEPS),
        per_side(GAPS),
        padding,
        padding if random.random() < 0.5 else per_side(MARGINS),
        per_side(OUTPUTS) if len(sides) > 1 else (LENGTHS,),
    )


# A shape takes seconds to compile: each is used for many problems.
SHAPES = [shape_of(index) for index in range(max(len(SIDES) // 2, EXAMPLES // 40))]


@st.composite
def depthwise_problems(draw: st.DrawFn) -> ConvProblem:
    """Odd sizes, channels around multiples of a vector, padding that may exceed the kernel."""
    shape = draw(st.sampled_from(SHAPES))
    channels = draw(st.sampled_from([2, 3, 7, 8, 9, 12, 16, 17, 24, 33]))
    outputs = [
        draw(st.sampled_from(sizes)) * dilation + draw(st.integers(0, dilation - 1))
        for sizes, dilation in zip(shape.outputs, shape.dilation, strict=True)
    ]
    unused = draw(st.tuples(*[st.integers(0, s - 1) for s in shape.stride]))
    sides = zip(outputs, unused, *shape[:-1], strict=True)
    return ConvProblem(
        channels,
        channels,
        [max(1, (o - 1) * s + d * (k - 1) + 1 - p - e + u) for o, u, k, s, d, p, e in sides],
        shape.kernel_size,
        batch_size=draw(st.integers(1, 3)),
        stride=shape.stride,
        padding=shape.padding,
        padding_end=shape.padding_end,
        dilation=shape.dilation,
        groups=channels,
        bias=draw(st.booleans()),
    )


@given(
    problem=depthwise_problems(),
    memory_format=st.sampled_from(FORMATS),
    threads=st.integers(1, 2),
)
@DRAWN
def test_equals_the_reference_and_writes_nowhere_else(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    memory_format = memory_format if problem.rank > 1 else "contiguous"
    bound = BACKEND.error_bound(problem)
    finding = check_kernel(
        BACKEND.prepare, problem, bound, memory_format=memory_format, threads=threads
    )
    assert finding.reason is None


@given(
    problem=depthwise_problems(),
    memory_format=st.sampled_from(FORMATS),
    threads=st.integers(1, 2),
)
@DRAWN
def test_relu_is_computed_with_it_between_red_zones(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    memory_format = memory_format if problem.rank > 1 else "contiguous"
    assert relu_is_fused(BACKEND, problem, memory_format, threads)


def result(
    way: str, problem: ConvProblem, inputs: Inputs, machine: Machine, relu: float = 0
) -> torch.Tensor:
    """The output of one way to compute a problem, in the checked mode."""
    layout = "planes" if way in ("planes", "blocks") else "rows"
    x = inputs.x.contiguous()
    if layout == "rows":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    with pytest.MonkeyPatch.context() as patch:
        work = getattr(depthwise_works, f"{way}_work")
        patch.setattr(depthwise, f"work_of_{layout}", lambda *_: work)
        with red_zones():
            weights = guarded_weights(inputs.weights)
            conv = depthwise.prepare(problem, weights, machine, relu=relu)
            return conv(guarded(x))


@given(
    problem=depthwise_problems(),
    way=st.sampled_from(WAYS),
    machine=st.sampled_from(MACHINES),
    relu=st.sampled_from((0, 3, math.inf)),
)
@DRAWN
def test_every_way_is_exact_on_whole_numbers(
    problem: ConvProblem, way: str, machine: Machine, relu: float
) -> None:
    if problem.in_channels < LANES:
        way = {"blocks": "planes", "pixels": "rows"}.get(way, way)
    inputs = make_inputs(problem, weight_kind="dense", integers=True)
    y = result(way, problem, inputs, machine, relu)
    expected = compute_reference(problem, inputs).y
    assert torch.equal(y.double(), expected.clamp(0, relu) if relu else expected)


@pytest.mark.parametrize("way", ["blocks", "pixels", "sequences"])
def test_a_way_that_needs_more_channels_or_columns_is_refused(way: str) -> None:
    few = ConvProblem(
        LANES - 1, LANES - 1, (1, LANES - 1), (1, 3), padding=(0, 1), groups=LANES - 1
    )
    work = getattr(depthwise_works, f"{way}_work")
    with pytest.raises(ValueError, match=f"needs at least {LANES} "):
        depthwise.prepare(few, make_inputs(few).weights, kinds=(work, None))


def test_rows_are_padded_if_tiles_or_caches_do_not_fit() -> None:
    def chosen(channels: int, size: int, stride: int, kernel: int = 3, padding: int = 1) -> object:
        image = ConvProblem(
            channels, channels, (size, size), kernel,
            stride=stride, padding=padding, groups=channels,
        )  # fmt: skip
        return depthwise.work_of_rows(image, MACHINES[0])

    assert chosen(960, 7, 1) is chosen(96, 112, 2) is depthwise_works.pixels_work
    assert chosen(960, 7, 1, padding=9) is depthwise_works.rows_work
    assert chosen(512, 14, 1, kernel=5, padding=2) is depthwise_works.rows_work
    assert chosen(1024, 112, 1) is depthwise_works.pixels_work


@pytest.mark.parametrize("way", WAYS)
def test_infinity_reaches_only_the_outputs_that_read_it(way: str) -> None:
    problem = ConvProblem(17, 17, (23, 22), 9, padding=4, groups=17)
    inputs = make_inputs(problem)
    inputs.x[:, :, 11, 12] = torch.inf
    y = result(way, problem, inputs, MACHINES[0])
    assert torch.equal(y.isfinite(), compute_reference(problem, inputs).y.isfinite())


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("size", [(70, 210), (51, 98)])
def test_maps_of_many_bands_equal_the_reference(size: tuple[int, int], memory_format: str) -> None:
    problem = ConvProblem(17, 17, size, 5, stride=2, padding=2, groups=17, bias=True)
    bound = BACKEND.error_bound(problem)
    finding = check_kernel(BACKEND.prepare, problem, bound, memory_format=memory_format, threads=2)
    assert finding.reason is None


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (ConvProblem(4, 4, (8, 8, 8), 3, groups=4), "1 or 2 spatial dimensions, not 3"),
        (ConvProblem(4, 8, (8, 8), 3, groups=4), "in_channels = out_channels"),
        (ConvProblem(4, 4, (8, 8), 3), "groups"),
    ],
)
def test_says_which_problems_it_does_not_take(problem: ConvProblem, why: str) -> None:
    reason = BACKEND.unsupported(problem)
    assert reason is not None
    assert why in reason
