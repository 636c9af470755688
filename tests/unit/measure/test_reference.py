"""References: bands of rows, and outputs for negated inputs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from convsweep import ConvProblem
from convsweep.backends.strategies.torch_conv import prepare
from convsweep.measure import banded_convolution
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.outcome import Outcome
from convsweep.measure.projection import project
from convsweep.measure.reference import Expected, Reference, compute_reference
from tests.support.strategies import conv_problems


@given(problem=conv_problems())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_row_at_a_time_gives_the_same_reference(
    problem: ConvProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(problem, dtype="float64", integers=True)
    with monkeypatch.context() as patch:
        patch.setattr(banded_convolution, "_BAND_BYTES", 1)
        banded = compute_reference(problem, inputs)
    whole = compute_reference(problem, inputs)
    assert torch.equal(banded.y, whole.y)
    assert banded.scale == whole.scale


Expect = Callable[[ConvProblem, Inputs], Expected]
PLAIN = ConvProblem(8, 64, (20, 20), 3, padding=1)


@pytest.mark.parametrize("expect", [compute_reference, project])
def test_an_output_for_negated_inputs_has_the_error_of_its_negative(expect: Expect) -> None:
    inputs = make_inputs(PLAIN)
    expected, y = expect(PLAIN, inputs), prepare(PLAIN, inputs.weights)(inputs.x)
    y[0, 3, 5, 5] += 1e-6
    undone = expected.undone(-y)
    assert undone is not None
    assert torch.equal(undone, y)
    assert expected.compare(-y, 100.0, negated=True) == expected.compare(y, 100.0, negated=False)
    biased = replace(PLAIN, bias=True)
    assert expect(biased, make_inputs(biased)).undone(y) is None


@pytest.mark.parametrize(("bias", "comparisons"), [(False, [False]), (True, [False, True])])
def test_the_negative_of_bits_that_have_passed_passes(
    monkeypatch: pytest.MonkeyPatch, bias: bool, comparisons: list[bool]
) -> None:
    compared, compare = [], Reference.compare

    def counted(self: Reference, y: Tensor, bound: float, negated: bool) -> Outcome:
        compared.append(negated)
        return compare(self, y, bound, negated)

    monkeypatch.setattr(Reference, "compare", counted)
    problem = replace(PLAIN, bias=bias)
    inputs = make_inputs(problem)
    target = output(compute_reference(problem, inputs), 100.0)
    assert check(prepare(problem, inputs.weights), inputs, target).status == "ok"
    assert compared == comparisons
