"""Inputs are the same wherever they are drawn, and a separable weight is its factors' product."""

import pytest
import torch
from hypothesis import given, settings

from convsweep import ConvProblem
from convsweep.backends.registry import list_backends
from convsweep.measure.inputs import make_inputs
from convsweep.measure.outcome import skipped_outcome
from convsweep.problems.case import cross
from convsweep.problems.workloads import Layer
from tests.support.strategies import conv_problems

PROBLEM = ConvProblem(6, 4, (7, 5), 3, padding=1, bias=True)


@given(problem=conv_problems())
@settings(max_examples=40)
def test_shapes_are_the_problems(problem: ConvProblem) -> None:
    inputs = make_inputs(problem)
    assert tuple(inputs.x.shape) == problem.input_shape
    assert tuple(inputs.weights.dense.shape) == problem.weight_shape
    assert (inputs.weights.bias is not None) == problem.bias


def test_the_same_arguments_give_the_same_tensors_and_a_seed_gives_others() -> None:
    first, again, other = make_inputs(PROBLEM), make_inputs(PROBLEM), make_inputs(PROBLEM, seed=1)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.weights.dense, again.weights.dense)
    assert not torch.equal(first.x, other.x)


def test_no_value_is_zero_or_denormal() -> None:
    smallest = torch.finfo(torch.float32).tiny
    assert bool((make_inputs(PROBLEM).x.abs() > smallest).all())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_separable_weight_is_the_product_of_its_factors(dtype: str) -> None:
    weights = make_inputs(PROBLEM, weight_kind="separable", dtype=dtype).weights
    assert weights.factors is not None
    depthwise, pointwise = (factor.double() for factor in weights.factors)
    product = torch.einsum("ocij,cakl->ocakl", pointwise, depthwise)[:, :, 0]
    eps = torch.finfo(weights.dense.dtype).eps
    assert torch.allclose(weights.dense.double(), product, rtol=eps, atol=0)


def test_channels_last_is_a_layout_not_other_values() -> None:
    plain, other = make_inputs(PROBLEM), make_inputs(PROBLEM, memory_format="channels_last")
    assert other.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.x, other.x)


def test_a_signal_has_no_channels_last() -> None:
    signal = Layer(ConvProblem(2, 2, (9,), 3))
    line, image = cross([signal, Layer(PROBLEM)], ["im2col"], memory_formats=["channels_last"])
    skipped = skipped_outcome(line, list_backends()["im2col"])
    assert "2 or 3" in str(skipped and skipped.reason)
    assert skipped_outcome(image, list_backends()["im2col"]) is None
