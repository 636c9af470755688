"""1x1 convolution as an own kernel: right at every size, and nothing beside its memory touched."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from convsweep.backends.registry import list_backends
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from tests.support.kernel_checks import DRAWN, check_kernel, relu_is_fused

BACKEND = list_backends()["pointwise_numba"]

pytest.importorskip("numba")


@st.composite
def pointwise_problems(draw: st.DrawFn) -> ConvProblem:
    rank = draw(st.integers(1, 3))
    channels = st.one_of(st.integers(1, 50), st.sampled_from((64, 96, 100)))
    return ConvProblem(
        draw(channels),
        draw(channels),
        draw(st.tuples(*[st.integers(1, (700, 24, 9)[rank - 1])] * rank)),
        1,
        batch_size=draw(st.integers(1, 3)),
        stride=draw(st.tuples(*[st.integers(1, 3)] * rank)),
        bias=draw(st.booleans()),
    )


def formats(problem: ConvProblem) -> list[str]:
    return ["contiguous"] if problem.rank == 1 else ["contiguous", "channels_last"]


@given(problem=pointwise_problems(), data=st.data(), threads=st.integers(1, 2))
@DRAWN
def test_equals_the_reference_between_red_zones(
    problem: ConvProblem, data: st.DataObject, threads: int
) -> None:
    finding = check_kernel(
        BACKEND.prepare,
        problem,
        BACKEND.error_bound(problem),
        memory_format=data.draw(st.sampled_from(formats(problem))),
        threads=threads,
    )
    assert finding.reason is None


@given(problem=pointwise_problems(), data=st.data(), threads=st.integers(1, 2))
@DRAWN
def test_relu_is_computed_with_it_between_red_zones(
    problem: ConvProblem, data: st.DataObject, threads: int
) -> None:
    assert relu_is_fused(BACKEND, problem, data.draw(st.sampled_from(formats(problem))), threads)


@given(problem=pointwise_problems())
@DRAWN
def test_answers_in_the_layout_of_its_input(problem: ConvProblem) -> None:
    assume(problem.in_channels > 1 and max(problem.input_size) > 1)
    for memory_format in formats(problem):
        inputs = make_inputs(problem, memory_format=memory_format)
        y = BACKEND.prepare(problem, inputs.weights)(inputs.x)
        assert (y if memory_format == "contiguous" else y.movedim(1, -1)).is_contiguous()


@given(problem=pointwise_problems())
@DRAWN
def test_takes_an_input_of_any_other_layout(problem: ConvProblem) -> None:
    inputs = make_inputs(problem)
    x = inputs.x.flip(-1).transpose(0, -1).contiguous().transpose(0, -1).flip(-1)
    y = BACKEND.prepare(problem, inputs.weights)(x)
    assert torch.allclose(y.double(), compute_reference(problem, inputs).y, atol=1e-4)
