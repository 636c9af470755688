"""The reference does not depend on the number of bands."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from convsweep import ConvProblem
from convsweep.measure import banded_convolution
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
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
