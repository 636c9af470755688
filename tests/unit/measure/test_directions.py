"""Gradients of the basic methods and algorithms: right within their bounds, their work, memory."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from convsweep import Backend, ConvProblem, list_backends
from convsweep.backends.base import BASIC
from convsweep.backends.registry import skip_reason
from convsweep.backends.work import executed_macs, least_bytes, moved_bytes
from convsweep.measure.checks import Target, check
from convsweep.measure.directions import DirectedConv
from convsweep.measure.gradients import compute_outputs, output_bounds, outputs_of
from convsweep.measure.inputs import make_inputs
from convsweep.problems.case import (
    BACKWARD_INPUT,
    BACKWARD_WEIGHT,
    DIRECTIONS,
    FORWARD,
    TRAINING,
    Case,
)
from convsweep.problems.problem import Size
from convsweep.problems.separable import SEPARABLE_PARTS, is_replaceable
from convsweep.problems.workloads import Layer
from tests.support.strategies import conv_problems

BY_AUTOGRAD = [b for b in list_backends().values() if b.family in (BASIC, "algorithms")]
ODD = {
    "1-D": ConvProblem(4, 6, (17,), 4, stride=3, padding=2, dilation=2, groups=2, bias=True),
    "3-D": ConvProblem(2, 4, (5, 4, 6), (2, 3, 1), batch_size=2, padding=(1, 0, 0), bias=True),
    "depthwise": ConvProblem(6, 6, (9, 8), 3, batch_size=3, stride=2, padding=1, groups=6),
    "1x1": ConvProblem(5, 3, (6, 7), 1, stride=2, bias=True),
    "one pixel": ConvProblem(3, 4, (1, 1), 1, bias=True),
    "winograd": ConvProblem(8, 5, (12, 14), 3, padding=1, bias=True),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def runnable(problem: ConvProblem, dtype: str, direction: str) -> Iterator[tuple[Backend, str]]:
    for backend in BY_AUTOGRAD:
        kind = "separable" if backend.needs_factors and is_replaceable(problem) else "dense"
        how = {"weight_kind": kind, "device": "cpu", "dtype": dtype, "direction": direction}
        left_out = backend.name == "loop" or backend.computes_in
        if not left_out and skip_reason(backend, problem, **how) is None:
            yield backend, kind


def gate(problem: ConvProblem, direction: str, dtype: str, memory_format: str) -> set[str]:
    """Check all backends that take part, and return their names."""
    taking = set()
    for backend, kind in runnable(problem, dtype, direction):
        how = {"weight_kind": kind, "dtype": dtype, "memory_format": memory_format}
        inputs = make_inputs(problem, gradient=True, **how)  # type: ignore[arg-type]
        references = compute_outputs(problem, make_inputs(problem, gradient=True, **how))  # type: ignore[arg-type]
        names = outputs_of(direction, problem, backend.needs_factors)
        own = {name: references[name] for name in names}
        bounds = output_bounds(backend, problem, inputs.x.dtype, own)
        targets = {name: Target(own[name], bounds[name]) for name in names}
        conv = DirectedConv(backend, problem, inputs, direction)
        found = check(conv, inputs, targets, start=conv.start)
        assert found.reason is None, (backend.name, found)
        taking.add(backend.name)
    return taking


@pytest.mark.parametrize("direction", DIRECTIONS[1:])
@pytest.mark.parametrize("name", ODD)
def test_every_gradient_is_right_in_both_layouts(name: str, direction: str) -> None:
    problem = ODD[name]
    memory_format = "contiguous" if problem.rank == 1 else "channels_last"
    taking = gate(problem, direction, "float32", memory_format)
    assert {"torch_conv", "im2col", "kn2row"} <= taking
    assert ("torch_conv_backward" in taking) == (direction != TRAINING)


@settings(max_examples=8)
@given(conv_problems())
def test_bounds_hold_for_drawn_problems(problem: ConvProblem) -> None:
    assert gate(problem, TRAINING, "float32", "contiguous")
    assert gate(problem, BACKWARD_INPUT, "bfloat16", "contiguous")
    assert gate(problem, BACKWARD_WEIGHT, "bfloat16", "contiguous")


def case_of(problem: ConvProblem, backend: str, direction: str, dtype: str = "float32") -> Case:
    kind = "separable" if is_replaceable(problem) else "dense"
    return Case(Layer(problem), kind, "cpu", dtype, "contiguous", 1, "hot", backend, direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("backend", ["torch_conv", "separable", "torch_conv_backward"])
@pytest.mark.parametrize("name", ["1-D", "depthwise", "winograd"])
def test_macs_are_those_that_pytorch_counts(name: str, backend: str, direction: str) -> None:
    problem, found = ODD[name], list_backends()[backend]
    kind = "separable" if is_replaceable(problem) else "dense"
    how = {"weight_kind": kind, "device": "cpu", "dtype": "float32", "direction": direction}
    if skip_reason(found, problem, **how):
        return
    inputs = make_inputs(problem, weight_kind=kind, gradient=True)
    with FlopCounterMode(display=False) as counter:
        if direction == FORWARD:
            found.prepare(problem, inputs.weights)(inputs.x)
        else:
            conv = DirectedConv(found, problem, inputs, direction)
            with FlopCounterMode(display=False) as untimed:
                conv.start()
            conv(inputs.x)
    flops = counter.get_total_flops()
    flops -= untimed.get_total_flops() if direction != FORWARD else 0
    parts = [part(problem) for part in SEPARABLE_PARTS.values()] if found.needs_factors else []
    # PyTorch counts a weight's gradient as if the convolution had one group.
    excess = sum((part.groups - 1) * part.macs for part in parts or [problem])
    excess *= direction in (BACKWARD_WEIGHT, TRAINING)
    assert flops / 2 - excess == executed_macs(found, case_of(problem, backend, direction))


def test_bytes_are_those_of_the_tensors_of_a_direction() -> None:
    problem = ConvProblem(4, 6, (9, 8), 3, batch_size=2, padding=1, bias=True)

    def size(shape: Size) -> int:
        return math.prod(shape)

    x, w, y = map(size, (problem.input_shape, problem.weight_shape, problem.output_shape))
    expected = {
        FORWARD: x + w + 6 + y,
        BACKWARD_INPUT: y + w + x,
        BACKWARD_WEIGHT: x + y + w + 6,
        TRAINING: 2 * (x + w + 6 + y),
    }
    for direction, elements in expected.items():
        case = case_of(problem, "torch_conv", direction, "bfloat16")
        assert least_bytes(case) == 2 * elements
        for backend in BY_AUTOGRAD:
            if backend.unsupported(problem) is None and not backend.needs_factors:
                assert moved_bytes(backend, case) >= least_bytes(case)
    separable = list_backends()["separable"]
    moved = [moved_bytes(separable, case_of(problem, "separable", one)) for one in DIRECTIONS]
    assert moved[0] == separable.min_bytes(problem, 4)
    assert all(moved[0] < later < 3 * moved[0] for later in moved[2:])


def test_peak_memory_of_a_gradient_includes_what_the_forward_pass_keeps() -> None:
    problem = ConvProblem(16, 16, (64, 64), 3, padding=1)
    inputs = make_inputs(problem, gradient=True)
    conv = DirectedConv(list_backends()["im2col"], problem, inputs, BACKWARD_WEIGHT)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        conv.start()
    columns = problem.taps * math.prod(problem.output_size)
    assert max(tensor.numel() for tensor in kept) == columns
    conv.stop()
    assert conv._y is None
