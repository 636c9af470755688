"""Transposed problems, and padding that differs at both ends: torch's own shapes and counts."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from convsweep.problems.axes import parse_axis, span
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import is_replaceable
from convsweep.problems.workloads import PROBLEM_COLUMNS, read_problems
from tests.support.strategies import odd_problems

laws = settings(max_examples=60)
PLAIN = {"in_channels": 4, "out_channels": 6, "input_size": (5, 5), "kernel_size": 3}


def run_on_meta(problem: ConvProblem) -> torch.Tensor:
    """Torch's own operators of that shape, without any numbers."""
    x = torch.empty(problem.input_shape, device="meta")
    weight = torch.empty(problem.weight_shape, device="meta")
    geometry = {name: getattr(problem, name) for name in ("stride", "dilation", "groups")}
    if problem.transposed:
        more = {"padding": problem.padding, "output_padding": problem.output_padding}
        function: Callable[..., torch.Tensor] = getattr(F, f"conv_transpose{problem.rank}d")
        return function(x, weight, **geometry, **more)
    padded = F.pad(x, [side for both in reversed(problem.margins) for side in both])
    return getattr(F, f"conv{problem.rank}d")(padded, weight, **geometry)


def used_positions(problem: ConvProblem) -> int:
    """Input positions that an output depends on, by enumeration."""
    used = set()
    first, second = problem.output_size, problem.input_size
    if problem.transposed:
        first, second = second, first
    for at, tap in itertools.product(
        itertools.product(*map(range, first)), itertools.product(*map(range, problem.kernel_size))
    ):
        sizes = (at, problem.stride, tap, problem.dilation, problem.padding)
        other = tuple(o * s + t * d - p for o, s, t, d, p in zip(*sizes, strict=True))
        if all(0 <= place < size for place, size in zip(other, second, strict=True)):
            used.add(at if problem.transposed else other)
    return len(used)


@laws
@given(odd_problems())
def test_shapes_and_flops_are_those_of_torch(problem: ConvProblem) -> None:
    with FlopCounterMode(display=False) as counter:
        assert tuple(run_on_meta(problem).shape) == problem.output_shape
    assert problem.flops == counter.get_total_flops()
    assert ConvProblem.parse(problem.label) == problem
    assert not (problem.transposed and is_replaceable(problem))


@laws
@given(odd_problems())
def test_min_bytes_count_each_input_that_is_used_once(problem: ConvProblem) -> None:
    inputs = problem.batch_size * problem.in_channels * used_positions(problem)
    weights = math.prod(problem.weight_shape) + problem.out_channels * problem.bias
    assert problem.min_bytes(1) == inputs + weights + math.prod(problem.output_shape)


def test_a_label_has_a_suffix_only_if_the_problem_is_of_such_a_kind() -> None:
    assert ConvProblem(**PLAIN, padding=1).label.endswith("_p1x1_d1x1_g1_b0")
    assert ConvProblem(**PLAIN, padding=1, padding_end=(1, 2)).label.endswith("_b0_e1x2")
    upscaling = ConvProblem(**PLAIN, stride=2, transposed=True, output_padding=1)
    assert upscaling.label.endswith("_b0_t1x1")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"padding_end": (1,)}, "padding_end must have 2 numbers"),
        ({"padding_end": -1}, "padding_end must be a whole number"),
        ({"output_padding": 1}, "output_padding needs a transposed"),
        ({"transposed": 2}, "transposed must be true or false"),
        ({"transposed": True, "output_padding": 1}, "output_padding 1x1 must be below"),
        ({"transposed": True, "padding_end": 1}, "padding_end of a transposed"),
        ({"transposed": True, "padding": 3}, "padding 3x3 of a transposed"),
        ({"transposed": True, "padding": 2, "input_size": (1, 1)}, "no output"),
    ],
)
def test_an_impossible_one_is_refused_in_a_line(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{named}[^\n]*$"):
        ConvProblem(**{**PLAIN, **values})


def problems(*axes: str) -> list[ConvProblem]:
    return span(map(parse_axis, axes))


def test_same_padding_of_an_even_kernel_keeps_the_image() -> None:
    found = problems("kernel_size=2,4", "padding=same", "size=28")
    assert [p.input_size for p in found] == [p.output_size for p in found] == [(28, 28)] * 2
    assert [p.margins[0] for p in found] == [(0, 1), (1, 2)]


@laws
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_tf_same_padding_is_the_least_for_one_output_per_step(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    axes = {"size": size, "kernel_size": kernel, "stride": stride, "dilation": dilation}
    [problem] = problems("padding=tf_same", *(f"{name}={n}" for name, n in axes.items()))
    assert problem.output_size == (math.ceil(size / stride),) * 2
    before, behind = problem.margins[0]
    assert behind - before in (0, 1)
    needed = (problem.output_size[0] - 1) * stride + problem.span[0]
    assert before + behind == max(0, needed - size)


def test_transposed_is_an_axis() -> None:
    axes = ("size=4", "kernel_size=2", "stride=2", "padding=0", "transposed=0,1")
    assert [p.output_size for p in problems(*axes)] == [(2, 2), (8, 8)]
    [problem] = problems("size=4", "stride=2", "padding=1", "transposed=1", "output_padding=1")
    assert problem.output_size == (8, 8)


@pytest.mark.parametrize(
    "axes", [["transposed=1"], ["transposed=1", "padding=tf_same"], ["transposed=2"],
             ["padding=sane"], ["output_padding=1"]]
)  # fmt: skip
def test_an_axis_that_gives_no_problem_is_refused_in_a_line(axes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        problems(*axes)


def test_a_file_of_problems_may_have_columns_of_both_kinds(tmp_path: Path) -> None:
    row = dict.fromkeys(PROBLEM_COLUMNS, 2) | {"pad_h": 1, "pad_w": 1, "bias": 0}
    row |= {"pad_end_h": 2, "pad_end_w": "", "transposed": "", "output_pad_h": ""}
    file = tmp_path / "problems.csv"
    lines = [row, row | {"pad_end_h": "", "transposed": 1, "output_pad_h": 1}]
    file.write_text(
        "\n".join([",".join(row), *(",".join(map(str, own.values())) for own in lines)])
    )
    first, second = (layer.problem for layer in read_problems(file).layers)
    assert first.margins == ((1, 2), (1, 1))
    assert (second.transposed, second.output_padding) == (True, (1, 0))
    file.write_text(file.read_text().replace(",1,1", ",2,1"))
    with pytest.raises(ValueError, match=r"line 3: transposed='2' is not 0 or 1"):
        read_problems(file)
