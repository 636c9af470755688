"""The fused separable layer: right at every size, and nothing beside its memory touched."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from convsweep.backends.blocks import separable_graph
from convsweep.backends.registry import list_backends
from convsweep.backends.strategies import separable
from convsweep.backends.tensor_layout import bind_conv
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from tests.support.kernel_checks import DRAWN, check_kernel, guarded_weights
from tests.support.red_zones import guarded, red_zones

BACKEND = list_backends()["separable_numba"]

pytest.importorskip("numba")

FORMATS = st.sampled_from(("contiguous", "channels_last"))
# Kernel widths, strides and dilations along rows: each is machine code of its own.
ROWS = ((3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (2, 1, 1), (3, 1, 2), (4, 3, 1))


@st.composite
def separable_problems(draw: st.DrawFn) -> ConvProblem:
    width, stride, dilation = draw(st.sampled_from(ROWS))
    kernel_size = (draw(st.integers(1, 7)), width)
    dilations = (draw(st.integers(1, 2)), dilation)
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p)
        for k, d, p in zip(kernel_size, dilations, padding, strict=True)
    ]
    channels = st.one_of(st.integers(1, 40), st.sampled_from((48, 64)))
    return ConvProblem(
        draw(channels),
        draw(channels),
        tuple(size + draw(st.integers(0, 30)) for size in least),
        kernel_size,
        batch_size=draw(st.integers(1, 3)),
        stride=(draw(st.integers(1, 3)), stride),
        padding=padding,
        dilation=dilations,
        bias=draw(st.booleans()),
    )


@given(problem=separable_problems(), memory_format=FORMATS, threads=st.integers(1, 2))
@DRAWN
def test_equals_the_reference_between_red_zones(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    finding = check_kernel(
        BACKEND.prepare,
        problem,
        BACKEND.error_bound(problem),
        memory_format=memory_format,
        weight_kind="separable",
        threads=threads,
    )
    assert finding.reason is None


@given(problem=separable_problems(), memory_format=FORMATS)
@DRAWN
def test_is_exact_on_whole_numbers(problem: ConvProblem, memory_format: str) -> None:
    inputs = make_inputs(
        problem, weight_kind="separable", memory_format=memory_format, integers=True
    )
    y = BACKEND.prepare(problem, inputs.weights)(inputs.x)
    assert torch.equal(y.double(), compute_reference(problem, inputs).y)


@pytest.mark.parametrize("channels", [48, 13])  # read in place, and copied
@pytest.mark.parametrize("stride", [1, 2])
def test_relu_follows_both_parts_between_red_zones(channels: int, stride: int) -> None:
    problem = ConvProblem(channels, 21, (15, 22), 3, stride=stride, padding=1, bias=True)
    inputs = make_inputs(problem, weight_kind="separable", memory_format="channels_last")
    with red_zones():
        graph = separable_graph(problem, guarded_weights(inputs.weights))
        layers = [
            layer._replace(relu=bound) for layer, bound in zip(graph, (0.5, 0.2), strict=True)
        ]
        y = BACKEND.prepare_block(layers)(guarded(inputs.x))
    expected = inputs.x
    for layer in layers:
        conv = bind_conv(layer.problem, layer.weight, layer.bias)
        expected = conv(expected).clamp(0, layer.relu)
    torch.testing.assert_close(y, expected)


@given(problem=separable_problems())
@DRAWN
def test_answers_in_the_layout_of_its_input(problem: ConvProblem) -> None:
    assume(problem.out_channels > 1 and max(problem.output_size) > 1)
    assume(problem.in_channels > 1 and max(problem.input_size) > 1)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        inputs = make_inputs(problem, weight_kind="separable")
        x = inputs.x.contiguous(memory_format=memory_format)
        y = BACKEND.prepare(problem, inputs.weights)(x)
        assert y.is_contiguous(memory_format=memory_format)


@given(problem=separable_problems())
@DRAWN
def test_multiplies_what_two_calls_do_and_moves_no_more(problem: ConvProblem) -> None:
    assert BACKEND.macs(problem) == separable.BACKEND.macs(problem)
    assert 0 < BACKEND.min_bytes(problem, 4) < separable.BACKEND.min_bytes(problem, 4)


def test_refuses_what_does_not_factor() -> None:
    for problem in (
        ConvProblem(4, 4, (8, 8), 1),
        ConvProblem(4, 4, (8, 8), 3, groups=2),
        ConvProblem(4, 4, (8,), 3),
    ):
        assert BACKEND.unsupported(problem)
