"""Parts of one call: each is found, and with the rest they add up to the whole."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from convsweep.analysis.call_parts import divide
from convsweep.backends.base import Conv, Implementation, Weights
from convsweep.backends.registry import list_backends
from convsweep.measure.call_parts import with_fixed_cost
from convsweep.measure.gate import setup_group
from convsweep.measure.instruments import find_kernels, parts_of
from convsweep.measure.messages import CallParts
from convsweep.measure.settings import Settings
from convsweep.measure.timing import GroupTimer
from convsweep.measure.trace import Operator, TracedCall
from convsweep.problems.case import Case
from convsweep.problems.onednn_log import Primitive
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results.call_parts import (
    ALLOCATION,
    FIXED,
    KERNEL,
    MOVES,
    PAGE_FAULTS,
    PARTS,
    UNATTRIBUTED,
    WEIGHTS,
    WHOLE,
)
from convsweep.system.counters import Counts
from convsweep.system.devices import find_device

PROBLEM = ConvProblem(16, 32, (8, 8), 3, padding=1)


def reorder(shape: str, memory: str, seconds: float) -> Primitive:
    return Primitive("reorder", "jit:blk", memory, shape, seconds)


def traced(*primitives: Primitive, operators: list[Operator]) -> TracedCall:
    return TracedCall(operators, [*primitives], [], allocation_s=0.5)


def total(problem: ConvProblem, call: TracedCall) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, seconds in parts_of(problem, call, on_cpu=True):
        found[name] = found.get(name, 0.0) + seconds
    return found


def test_primitives_and_operators_are_parts_of_their_kind() -> None:
    call = traced(
        reorder("1x16x8x8", "src:f32::blocked:abcd::f0 dst:f32::blocked:aBcd16b::f0", 1.0),
        reorder("32x16x3x3", "src:f32::blocked:abcd::f0 dst:f32::blocked:ABcd16b16a::f0", 2.0),
        Primitive("convolution", "jit:any", "", "", 4.0),
        reorder("1x32x8x8", "src:f32::blocked:aBcd16b::f0 dst:f32::blocked:abcd::f0", 8.0),
        operators=[Operator("aten::mkldnn_convolution", 99.0), Operator("aten::copy_", 16.0)],
    )
    assert total(PROBLEM, call) == {
        KERNEL: 4.0,
        ALLOCATION: 0.5,
        MOVES: 25.0,
        WEIGHTS: 2.0,
    }


def test_an_operator_without_onednn_is_the_kernel() -> None:
    call = traced(operators=[Operator("aten::_slow_conv2d_forward", 3.0)])
    assert total(PROBLEM, call) == {KERNEL: 3.0, ALLOCATION: 0.5}


@pytest.mark.parametrize(("letter", "part"), [("A", WEIGHTS), ("a", MOVES)])
def test_weights_as_large_as_the_image_are_told_by_their_layout(letter: str, part: str) -> None:
    problem = ConvProblem(16, 16, (3, 3), 3, batch_size=16, padding=1)
    call = traced(reorder("16x16x3x3", f"dst:f32::blocked:{letter}Bcd16b::f0", 2.0), operators=[])
    assert total(problem, call)[part] == 2.0


def test_the_fixed_cost_is_what_a_small_call_takes_outside_of_its_parts() -> None:
    found = with_fixed_cost({KERNEL: 10.0}, 5.0, {KERNEL: 1.0, WEIGHTS: 0.5}, has_steps=False)
    assert found == {KERNEL: 10.0, FIXED: 3.5}


def test_steps_are_counted_without_their_share_of_the_fixed_cost() -> None:
    found = with_fixed_cost({"gather": 10.0}, 5.0, {"gather": 2.0}, has_steps=True)
    assert found == {"gather": 8.0, FIXED: 5.0}


def test_a_step_is_never_reduced_below_zero_nor_allocation_at_all() -> None:
    parts, small = {"gather": 1.0, ALLOCATION: 1.5}, {"gather": 2.0, ALLOCATION: 1.0}
    found = with_fixed_cost(parts, 5.0, small, has_steps=True)
    assert found == {"gather": 0.0, ALLOCATION: 1.5, FIXED: 3.0}


@pytest.mark.parametrize("passes", [1, 3, 7])
def test_all_parts_add_up_to_the_whole_call(passes: int) -> None:
    whole = [10.0 + 3 * (index % 4) for index in range(passes)]
    parts = [{KERNEL: 4.0 + index, FIXED: 1.5} | {MOVES: 1.0} for index in range(passes)]
    found = divide(whole, parts)
    assert [*found] == [WHOLE, KERNEL, MOVES, FIXED, UNATTRIBUTED]
    assert sum(found[name].value for name in found if name != WHOLE) == pytest.approx(
        found[WHOLE].value
    )


def test_a_part_that_one_process_lacks_took_no_time_there() -> None:
    found = divide([10.0, 10.0], [{"pad": 4.0, MOVES: 2.0}, {"pad": 6.0}])
    assert [found[name].value for name in ("pad", MOVES, UNATTRIBUTED)] == [5.0, 1.0, 4.0]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As in a worker process: two threads may wait long for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(backend: str, problem: ConvProblem, allocator: str = "retain") -> CallParts:
    kind = "separable" if problem.groups == 1 else "dense"
    case = Case(Layer(problem), kind, "cpu", "float32", "contiguous", 1, "hot", backend)
    timer = GroupTimer(setup_group([case], Settings(allocator=allocator)))
    with torch.no_grad():
        assert timer.validate(0).status == "ok"
        first = timer.explain(0, None)
        again = timer.explain(0, first)
    assert again.fixed_cost_problem == first.fixed_cost_problem
    assert again.parts.keys() == first.parts.keys()
    return first


def test_a_call_of_pytorch_has_a_kernel_and_a_fixed_cost_of_a_smaller_problem() -> None:
    found = measured("torch_conv", PROBLEM)
    assert {KERNEL, ALLOCATION, FIXED} <= found.parts.keys() <= {*PARTS}
    assert "aten::" in found.implementation
    assert found.fixed_cost_problem is not None
    small = ConvProblem.parse(found.fixed_cost_problem)
    assert 2 * small.macs <= PROBLEM.macs
    assert (small.kernel_size, small.padding) == (PROBLEM.kernel_size, PROBLEM.padding)


def test_a_strategy_has_its_steps() -> None:
    assert {"pad", "gather", "product", FIXED} == measured("im2col", PROBLEM).parts.keys()


def test_grouped_channels_shrink_with_their_groups() -> None:
    problem = ConvProblem(8, 8, (12, 6), 3, padding=1, groups=8)
    found = measured("im2col", problem).fixed_cost_problem
    assert found is not None
    small = ConvProblem.parse(found)
    assert small.in_channels == small.out_channels == small.groups


def test_a_backend_computes_only_what_it_supports(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[ConvProblem] = []
    real = list_backends()["im2col"]

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        prepared.append(problem)
        return real.prepare(problem, weights)

    def unsupported(problem: ConvProblem) -> str | None:
        return None if problem.in_channels >= 4 else "too few channels"

    picky = replace(real, prepare=prepare, unsupported=unsupported)
    monkeypatch.setattr("convsweep.measure.call_parts.find_backend", lambda name: picky)
    found = measured("im2col", PROBLEM).fixed_cost_problem
    assert found is not None
    assert min(problem.in_channels for problem in prepared) == 4


def test_a_call_without_a_smaller_problem_has_no_fixed_cost() -> None:
    found = measured("im2col", ConvProblem(1, 1, (1, 1), 1))
    assert found.fixed_cost_problem is None
    assert FIXED not in found.parts


@pytest.mark.parametrize(("faults", "found"), [(1000, True), (0, False)])
def test_page_faults_are_what_retained_memory_saves(
    monkeypatch: pytest.MonkeyPatch, faults: int, found: bool
) -> None:
    counts = itertools.count(0, faults)
    retained: list[str] = []
    monkeypatch.setattr(
        "convsweep.measure.call_parts.system_counts", lambda: Counts(page_faults=next(counts))
    )
    monkeypatch.setattr(
        "convsweep.measure.call_parts.retain_memory", lambda: retained.append("retain")
    )
    parts = measured("im2col", PROBLEM, "system").parts
    assert (PAGE_FAULTS in parts, bool(retained)) == (found, found)


def test_a_library_is_asked_for_its_own_figures() -> None:
    def conv(x: torch.Tensor) -> torch.Tensor:
        return x

    conv.measured = lambda x: Implementation("own", 1, 2.0, None)  # type: ignore[attr-defined]
    instrument = find_kernels(PROBLEM, conv, torch.zeros(1), find_device("cpu"))
    assert instrument(3) == {KERNEL: 2.0}
