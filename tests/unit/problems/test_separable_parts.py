"""A separable layer's halves: their shapes fit together, and their work is what the paper says."""

import math

import pytest
from hypothesis import given

from convsweep import ConvProblem, list_backends
from convsweep.problems.separable import (
    depthwise_part,
    is_replaceable,
    pointwise_part,
    predicted_share,
)
from tests.support.strategies import conv_problems


@given(conv_problems())
def test_the_halves_lead_from_the_layers_input_to_its_output(problem: ConvProblem) -> None:
    depthwise, pointwise = depthwise_part(problem), pointwise_part(problem)
    assert depthwise.input_shape == problem.input_shape
    assert pointwise.input_shape == depthwise.output_shape
    assert pointwise.output_shape == problem.output_shape
    assert (depthwise.bias, pointwise.bias) == (False, problem.bias)


@given(conv_problems())
def test_what_is_left_of_the_macs_is_as_the_paper_says(problem: ConvProblem) -> None:
    halves = depthwise_part(problem).macs + pointwise_part(problem).macs
    whole = problem.macs * problem.groups  # of the standard layer, without groups
    assert halves / whole == pytest.approx(predicted_share(problem))


@given(conv_problems())
def test_the_separable_backend_does_the_work_of_both_halves(problem: ConvProblem) -> None:
    separable = list_backends()["separable"]
    halves = depthwise_part(problem), pointwise_part(problem)
    if is_replaceable(problem):
        assert separable.macs(problem) == sum(half.macs for half in halves)
        assert separable.min_bytes(problem, 4) == sum(half.min_bytes(4) for half in halves)
        between = 4 * math.prod(halves[0].output_shape)
        assert separable.min_bytes(problem, 4) >= 2 * between


def test_a_layer_of_mobilenet_by_hand() -> None:
    problem = ConvProblem(64, 128, (56, 56), 3, padding=1)
    assert predicted_share(problem) == pytest.approx(1 / 128 + 1 / 9)
    assert depthwise_part(problem).label == "n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g64_b0"
    assert pointwise_part(problem).label == "n1_ci64_co128_i56x56_k1x1_s1x1_p0x0_d1x1_g1_b0"
    assert not is_replaceable(pointwise_part(problem))
    assert not is_replaceable(depthwise_part(problem))
