"""The fast check: its numbers are those of the full reference, and it is stricter."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from bench.harness.injected_errors import Trials
from convsweep import ConvProblem
from convsweep.analysis.sample_flags import PROJECTED
from convsweep.measure.inputs import make_inputs
from convsweep.measure.projection import is_cheap, project
from convsweep.measure.reference import compute_reference
from tests.support.strategies import conv_problems

WIDE = ConvProblem(40, 300, (9, 9), 3, padding=1, bias=True)  # three blocks of channels


def plain(problem: ConvProblem) -> ConvProblem:
    dense = replace(problem, stride=1, dilation=1, groups=1)
    sizes = zip(dense.input_size, dense.kernel_size, strict=True)
    return replace(dense, input_size=tuple(size + kernel for size, kernel in sizes))


@given(problem=conv_problems())
@settings(max_examples=60)
def test_sums_and_pixels_are_those_of_the_full_reference(problem: ConvProblem) -> None:
    problem = plain(problem)
    inputs = make_inputs(problem, integers=True)
    before = make_inputs(problem, integers=True)
    fast, full = project(problem, inputs), compute_reference(problem, inputs)
    bias = 0 if inputs.weights.bias is None else inputs.weights.bias.double().unsqueeze(1)
    outputs = full.y.flatten(2) - bias
    assert torch.equal(fast.sums, fast.signs @ outputs)
    assert torch.equal(fast.expected, outputs[..., fast.pixels])
    assert fast.scale <= full.scale
    assert torch.equal(inputs.x, before.x)
    assert torch.equal(inputs.weights.dense, before.weights.dense)


def test_each_channel_has_ten_signs_and_each_border_is_checked() -> None:
    fast = project(WIDE, make_inputs(WIDE))
    assert set(fast.signs.abs().sum(0).tolist()) == {10.0}
    full = torch.zeros(81, dtype=torch.bool).index_fill(0, fast.pixels, True).view(9, 9)
    assert all(line.all() for line in (full[0], full[-1], full[:, 0], full[:, -1]))


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("factor", [0.0, 0.9, 1.1, 2.0, 1e6])
def test_any_element_over_the_bound_is_found(factor: float, negated: bool) -> None:
    inputs = make_inputs(WIDE)
    fast, full, bound = project(WIDE, inputs), compute_reference(WIDE, inputs), 8.0
    right = full.negated if negated and full.negated is not None else full.y
    generator = torch.Generator().manual_seed(0)
    for index in torch.randint(right.numel(), (60,), generator=generator).tolist():
        y = right.float().flatten()
        y[index] += factor * bound * torch.finfo(torch.float32).eps * full.scale
        found, wanted = (expected.compare(y, bound, negated) for expected in (fast, full))
        assert found.status == wanted.status == ("ok" if factor < 1 else "mismatch")
        if found.sample_flags == PROJECTED:
            assert found.max_abs_err is not None
            assert wanted.max_abs_err is not None
            assert found.max_abs_err <= wanted.max_abs_err * (1 + 1e-6)


def test_errors_below_the_bound_that_add_up_are_judged_in_full() -> None:
    inputs = make_inputs(WIDE)
    fast, full = project(WIDE, inputs), compute_reference(WIDE, inputs)
    unit = torch.finfo(torch.float32).eps * full.scale
    signs = fast.signs[0].sign() + fast.signs[10].sign() + fast.signs[20].sign()
    y = (full.y.flatten(2) + 4 * unit * signs.unsqueeze(1)).float().flatten()
    assert fast.compare(y, 8.0, False) == full.compare(y, 8.0, False)
    assert full.compare(y, 8.0, False).status == "ok"


def test_no_injected_error_is_missed() -> None:
    found = list(Trials(ConvProblem(4, 6, (5, 5), 3, padding=1, bias=True)).all(1))
    assert not sum(one.missed for one in found)
    assert all(one.full == one.fast == 1 for one in found if one.size > 1.5 or not one.size)


@pytest.mark.parametrize(
    ("problem", "dtype", "cheap"),
    [
        (ConvProblem(128, 128, (56, 56), 3, padding=1), "float32", True),
        (ConvProblem(128, 128, (56, 56), 3, padding=1), "float64", False),
        (ConvProblem(128, 128, (56, 56), 3, padding=1, groups=128), "float32", False),
        (ConvProblem(128, 256, (56, 56), 1), "float32", False),
        (ConvProblem(512, 512, (7, 7), 3, padding=1), "float32", False),
        (ConvProblem(128, 4, (56, 56), 3, padding=1), "float32", False),
    ],
)
def test_only_large_layers_are_projected(problem: ConvProblem, dtype: str, cheap: bool) -> None:
    assert is_cheap(problem, dtype) == cheap
