"""Every backend computes both kinds of problems, or skips them; none returns a wrong output."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from convsweep import Backend, ConvProblem, list_backends
from convsweep.backends.base import Conv, Implementation, Weights, tells
from convsweep.backends.problem_kinds import for_every_kind
from convsweep.backends.registry import skip_reason
from convsweep.backends.tensor_layout import bind_conv
from convsweep.measure.checks import check, output
from convsweep.measure.directions import DirectedConv
from convsweep.measure.gradients import compute_outputs, output_bounds
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.problems.case import TRAINING
from convsweep.problems.separable import is_replaceable
from tests.support.strategies import odd_problems

FAMILIES = ("basic", "algorithms")
TORCH_ONLY = [b for b in list_backends().values() if b.family in FAMILIES and not b.computes_in]
TRANSPOSED = ConvProblem(4, 6, (5, 4), 3, stride=2, padding=1, output_padding=1, transposed=True,
                         groups=2, bias=True)  # fmt: skip
UNEVEN = ConvProblem(4, 6, (6, 5), (2, 3), padding=(0, 1), padding_end=(1, 2), groups=2, bias=True)


def gate(backend: Backend, problem: ConvProblem, weight_kind: str = "dense") -> str | None:
    """Return why the backend is wrong on a problem, or None."""
    inputs = make_inputs(problem, weight_kind=weight_kind)
    conv, bound = backend.prepare(problem, inputs.weights), backend.error_bound(problem)
    return check(conv, inputs, output(compute_reference(problem, inputs), bound)).reason


@settings(max_examples=25)
@given(odd_problems(max_extra=3))
def test_basic_methods_and_algorithms_are_right_or_skip(problem: ConvProblem) -> None:
    taking = []
    for backend in TORCH_ONLY:
        kind = "separable" if backend.needs_factors else "dense"
        if kind == "separable" and not is_replaceable(problem):
            continue
        if skip_reason(backend, problem, weight_kind=kind, device="cpu", dtype="float32"):
            continue
        assert gate(backend, problem, kind) is None, backend.name
        taking.append(backend.name)
    assert {"loop", "im2col", "torch_conv"} <= {*taking}


def unaware(problem: ConvProblem, weights: Weights) -> Conv:
    """Know one padding and no transposition, as a backend of another package."""
    assert problem.padding == problem.padding_end
    convolve = bind_conv(problem, weights.dense, weights.bias)
    return tells(lambda x: convolve(x), lambda x: Implementation(str(tuple(x.shape[2:])), 1))


def test_a_backend_that_knows_neither_kind_is_never_wrong() -> None:
    backend = for_every_kind(Backend("other", unaware))
    assert "transposed" in str(backend.unsupported(TRANSPOSED))
    assert backend.unsupported(UNEVEN) is None
    assert gate(backend, UNEVEN) is None
    assert backend.macs(UNEVEN) == UNEVEN.macs
    inputs = make_inputs(UNEVEN)
    found = backend.prepare(UNEVEN, inputs.weights).implementation(inputs.x)  # type: ignore[attr-defined]
    assert found == Implementation("(7, 6)", 2)


@pytest.mark.parametrize("problem", [TRANSPOSED, UNEVEN])
def test_every_backend_gives_a_reason_or_takes_part(problem: ConvProblem) -> None:
    reasons = {
        name: skip_reason(b, problem, weight_kind="dense", device="cpu", dtype="float32")
        for name, b in list_backends().items()
    }
    taking = {name for name, reason in reasons.items() if reason is None}
    assert taking >= {"loop", "im2col", "torch_conv"}
    assert problem.transposed or taking >= {"im2col_banded", "kn2row"}


@pytest.mark.parametrize("problem", [TRANSPOSED, UNEVEN])
@pytest.mark.parametrize("name", ["torch_conv", "im2col", "loop"])
def test_both_kinds_have_gradients(name: str, problem: ConvProblem) -> None:
    backend, inputs = list_backends()[name], make_inputs(problem)
    inputs = replace(inputs, grad=torch.ones(problem.output_shape))
    references = compute_outputs(problem, inputs)
    conv = DirectedConv(backend, problem, inputs, TRAINING)
    bounds = output_bounds(backend, problem, torch.float32, references)
    for y, (name, expected) in zip(conv(inputs.x), references.items(), strict=True):
        assert expected.compare(y, bounds[name], negated=False).reason is None
