"""The gate of gradients: every kind of wrong gradient fails, in each direction and in each pass."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights
from convsweep.backends.base import Conv
from convsweep.measure.checks import Target, check, recheck
from convsweep.measure.directions import DirectedConv
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.gradients import compute_outputs, output_bounds, outputs_of
from convsweep.measure.inputs import make_inputs
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT, DIRECTIONS, TRAINING, Case
from convsweep.problems.workloads import Layer
from tests.support.wrong_gradients import (
    WRONG,
    WRONG_BIAS,
    Gradients,
    Twist,
    backend_of,
    right,
)

PROBLEM = ConvProblem(8, 8, (9, 9), 3, batch_size=2, padding=1, groups=2, bias=True)
Gate = Callable[..., ValidatedCase | Outcome]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    def passes(
        backend: Backend, direction: str, accepted: bytes = b"", problem: ConvProblem = PROBLEM
    ) -> ValidatedCase | Outcome:
        monkeypatch.setattr("convsweep.measure.gate.find_backend", lambda name: backend)
        how = ("cpu", "float32", "contiguous", 1, "hot", backend.name, direction)
        group = setup_group([Case(Layer(problem), "dense", *how)], Settings(1))
        found = validate(group, 0, accepted, call_s=1e-4 if accepted else None)
        fresh = setup_group(group.cases, group.settings).inputs
        assert fresh.grad is not None
        assert group.inputs.grad is not None
        assert torch.equal(group.inputs.x, fresh.x)
        assert torch.equal(group.inputs.grad, fresh.grad)
        assert torch.equal(group.inputs.weights.dense, fresh.weights.dense)
        if accepted and isinstance(found, ValidatedCase):  # then the last timed call is checked
            reason = recheck(
                found.call,
                [found.call] * 5,
                group.inputs,
                found.targets,
                found.accepted,
                found.start,
            )
            return Outcome("mismatch", reason) if reason else found
        return found

    return passes


def accepted_of_a_right_one(gate: Gate, direction: str) -> bytes:
    found = gate(backend_of(right), direction)
    assert isinstance(found, ValidatedCase), found
    return found.outcome.accepted


EVERY = [(make, direction) for make in WRONG for direction in DIRECTIONS[1:]]
EVERY += [(make, direction) for make in WRONG_BIAS for direction in (BACKWARD_WEIGHT, TRAINING)]


@pytest.mark.parametrize(
    ("make", "direction"), EVERY, ids=lambda value: getattr(value, "__name__", value)
)
@pytest.mark.parametrize("later", [False, True], ids=["first pass", "later pass"])
def test_a_wrong_gradient_fails(
    make: Callable[[], Twist], direction: str, later: bool, gate: Gate
) -> None:
    accepted = accepted_of_a_right_one(gate, direction) if later else b""
    found = gate(backend_of(make()), direction, accepted)
    assert isinstance(found, Outcome)
    assert found.status == "mismatch"
    reason = str(found.reason)
    assert (WRONG | WRONG_BIAS)[make] in reason or (later and reason.startswith("after timing"))


@pytest.mark.parametrize("direction", DIRECTIONS[1:])
def test_right_gradients_pass_with_their_error(direction: str, gate: Gate) -> None:
    found = gate(backend_of(right), direction)
    assert isinstance(found, ValidatedCase)
    assert found.outcome.error_ratio is not None
    assert found.outcome.error_ratio < 4


@pytest.mark.parametrize("direction", DIRECTIONS[1:])
def test_a_gradient_that_is_wrong_after_the_gate_is_found_after_timing(direction: str) -> None:
    kept: list[list[Tensor]] = []

    def stale_from_the_fourth_call(*of: Any) -> Gradients:
        kept.append(right(*of))
        return [one.clone() for one in kept[-1 if len(kept) < 4 else 0]]

    inputs, backend = make_inputs(PROBLEM, gradient=True), backend_of(stale_from_the_fourth_call)
    references = compute_outputs(PROBLEM, inputs)
    names = outputs_of(direction, PROBLEM, factored=False)
    own = {name: references[name] for name in names}
    bounds = output_bounds(backend, PROBLEM, torch.float32, own)
    targets = {name: Target(own[name], bounds[name]) for name in names}
    conv = DirectedConv(backend, PROBLEM, inputs, direction)
    assert check(conv, inputs, targets, start=conv.start).reason is None
    found = recheck(lambda: conv(inputs.x), [], inputs, targets, {}, conv.start)
    assert found is not None
    assert found.startswith("after timing, another input in the same memory: grad_")


def without_graph(problem: ConvProblem, weights: Weights) -> Conv:
    return lambda x: right_output(problem, weights, x.detach())


def through_numpy(problem: ConvProblem, weights: Weights) -> Conv:
    return lambda x: right_output(problem, weights, torch.from_numpy(x.numpy()))


def right_output(problem: ConvProblem, weights: Weights, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.nn.functional.conv2d(x, weights.dense, weights.bias, 1, 1, 1, problem.groups)


@pytest.mark.parametrize("direction", [BACKWARD_INPUT, TRAINING])
@pytest.mark.parametrize("prepare", [without_graph, through_numpy])
def test_what_autograd_cannot_follow_is_skipped(
    prepare: Callable[[ConvProblem, Weights], Conv], direction: str, gate: Gate
) -> None:
    found = gate(Backend("other", prepare), direction)
    assert isinstance(found, Outcome)
    assert found.status == "skipped"
    assert "autograd" in str(found.reason)


def test_a_backend_may_compute_its_gradients_itself(gate: Gate) -> None:
    def gradients(
        problem: ConvProblem, weights: Weights, direction: str
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
        wanted = {BACKWARD_INPUT: slice(1), BACKWARD_WEIGHT: slice(1, 3), TRAINING: slice(3)}
        return lambda x, grad: tuple(right(problem, x, weights.dense, grad)[wanted[direction]])

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        return lambda x: right_output(problem, weights, x)

    own = Backend("own", prepare, gradients=gradients)
    for direction in DIRECTIONS[1:]:
        assert isinstance(gate(own, direction), ValidatedCase)
    wrong = replace(own, gradients=lambda *of: lambda x, grad: (x * 2,))
    found = gate(wrong, BACKWARD_INPUT)
    assert isinstance(found, Outcome)
    assert "over its bound" in str(found.reason)
