"""The laws of the depthwise kernels, in the checked mode: red zones around every buffer."""

import os
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep.backends.kernels import depthwise
from convsweep.backends.registry import list_backends
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from tests.support.kernel_checks import DRAWN, check_kernel, guarded_weights
from tests.support.red_zones import guarded, red_zones

BACKEND = list_backends()["depthwise_numba"]

FORMATS = ("contiguous", "channels_last")

SIDES = ((3, 3), (5, 5), (7, 7), (1, 5), (5, 1), (2, 4), (3, 7), (1, 1))
STEPS = ((1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 3))
GAPS = ((1, 1), (1, 1), (1, 1), (2, 2), (1, 3))
MARGINS = (0, 0, 1, 2, 3, 9)

# A shape takes seconds to compile: few are drawn unless the environment asks for more problems.
FEW = (((3, 3), (1, 1), (1, 1)), ((5, 5), (2, 2), (1, 1)), ((2, 4), (1, 3), (2, 1)))
MANY = tuple(product(SIDES, STEPS, GAPS))
EVERYTHING = "CONVSWEEP_EXAMPLES" in os.environ
OUTPUTS = range(1, 24) if EVERYTHING else (7, 9, 15, 22)


@st.composite
def depthwise_problems(draw: st.DrawFn) -> ConvProblem:
    """Odd sizes, channels around multiples of a vector, padding that may exceed the kernel."""
    channels = draw(st.sampled_from([2, 3, 7, 8, 9, 12, 16, 17, 24, 33]))
    kernel_size, stride, dilation = draw(st.sampled_from(MANY if EVERYTHING else FEW))
    padding = draw(st.tuples(*[st.sampled_from(MARGINS)] * 2))
    outputs = draw(st.tuples(*[st.sampled_from(OUTPUTS)] * 2))
    unused = draw(st.tuples(*[st.integers(0, s - 1) for s in stride]))
    sides = zip(outputs, stride, dilation, kernel_size, padding, unused, strict=True)
    return ConvProblem(
        channels,
        channels,
        [max(1, (o - 1) * s + d * (k - 1) + 1 - 2 * p + u) for o, s, d, k, p, u in sides],
        kernel_size,
        batch_size=draw(st.integers(1, 3)),
        stride=stride,
        padding=padding,
        dilation=dilation,
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
    bound = BACKEND.error_bound(problem)
    finding = check_kernel(
        BACKEND.prepare, problem, bound, memory_format=memory_format, threads=threads
    )
    assert finding.reason is None


@given(problem=depthwise_problems(), work=st.sampled_from(["planes_work", "blocks_work"]))
@DRAWN
def test_both_ways_of_contiguous_tensors_are_exact_on_whole_numbers(
    problem: ConvProblem, work: str
) -> None:
    planes = work == "planes_work" or problem.in_channels < 8
    inputs = make_inputs(problem, weight_kind="dense", integers=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise, "lanes_are_pixels", lambda problem: planes)
        with red_zones():
            conv = BACKEND.prepare(problem, guarded_weights(inputs.weights))
            y = conv(guarded(inputs.x))
    assert torch.equal(y.double(), compute_reference(problem, inputs).y)


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
        (ConvProblem(4, 4, (8,), 3, groups=4), "2 spatial dimensions, not 1"),
        (ConvProblem(4, 8, (8, 8), 3, groups=4), "in_channels = out_channels"),
        (ConvProblem(4, 4, (8, 8), 3), "groups"),
    ],
)
def test_says_which_problems_it_does_not_take(problem: ConvProblem, why: str) -> None:
    reason = BACKEND.unsupported(problem)
    assert reason is not None
    assert why in reason
