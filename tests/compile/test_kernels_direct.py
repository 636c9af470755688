"""Direct convolution as an own kernel: right at every size, nothing beside its memory touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep.backends.registry import list_backends
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem
from tests.support.kernel_checks import DRAWN, check_kernel, relu_is_fused
from tests.support.strategies import conv_problems

BACKEND = list_backends()["direct_numba"]

pytest.importorskip("numba")

FORMATS = st.sampled_from(("contiguous", "channels_last"))
PROBLEMS = conv_problems(
    max_channels=40, ranks=(2,), max_kernel=7, max_padding=4, max_extra=20, grouped=False
)


@given(problem=PROBLEMS, memory_format=FORMATS, threads=st.integers(1, 2))
@DRAWN
def test_equals_the_reference_between_red_zones(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    finding = check_kernel(
        BACKEND.prepare,
        problem,
        BACKEND.error_bound(problem),
        memory_format=memory_format,
        threads=threads,
    )
    assert finding.reason is None


@given(problem=PROBLEMS, memory_format=FORMATS, threads=st.integers(1, 2))
@DRAWN
def test_relu_is_computed_with_it_between_red_zones(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    assert relu_is_fused(BACKEND, problem, memory_format, threads)


@given(problem=PROBLEMS, memory_format=FORMATS)
@DRAWN
def test_is_exact_on_whole_numbers(problem: ConvProblem, memory_format: str) -> None:
    inputs = make_inputs(problem, memory_format=memory_format, integers=True)
    y = BACKEND.prepare(problem, inputs.weights)(inputs.x)
    assert torch.equal(y.double(), compute_reference(problem, inputs).y)


def test_refuses_groups_and_what_is_no_image() -> None:
    assert BACKEND.unsupported(ConvProblem(4, 4, (8, 8), 3, groups=2))
    assert BACKEND.unsupported(ConvProblem(4, 4, (8,), 3))
