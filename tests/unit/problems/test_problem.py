import itertools
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv1d, conv2d, conv3d
from torch.utils.flop_counter import FlopCounterMode

from convsweep.problems.problem import ConvProblem
from tests.support.strategies import conv_problems

CONV = {1: conv1d, 2: conv2d, 3: conv3d}
POSSIBLE = {"in_channels": 4, "out_channels": 8, "input_size": (5, 5), "kernel_size": 3}

laws = settings(max_examples=60)


def run_on_meta(problem: ConvProblem) -> torch.Tensor:
    """Torch's own convolution of that shape, without any numbers."""
    return CONV[problem.rank](
        torch.empty(problem.input_shape, device="meta"),
        torch.empty(problem.weight_shape, device="meta"),
        torch.empty(problem.out_channels, device="meta") if problem.bias else None,
        problem.stride,
        problem.padding,
        problem.dilation,
        problem.groups,
    )


def positions_read(problem: ConvProblem) -> set[tuple[int, ...]]:
    """Every pixel of the input that some output element reads, by enumeration."""
    read = set()
    for output in itertools.product(*map(range, problem.output_size)):
        for tap in itertools.product(*map(range, problem.kernel_size)):
            position = tuple(
                o * s + t * d - p
                for o, s, t, d, p in zip(
                    output, problem.stride, tap, problem.dilation, problem.padding, strict=True
                )
            )
            if all(0 <= x < i for x, i in zip(position, problem.input_size, strict=True)):
                read.add(position)
    return read


@laws
@given(conv_problems())
def test_shapes_are_those_of_torchs_own_convolution(problem: ConvProblem) -> None:
    y = run_on_meta(problem)
    assert tuple(y.shape) == problem.output_shape
    assert tuple(y.shape[2:]) == problem.output_size
    assert problem.rank == len(problem.output_size) == len(problem.input_size)


@laws
@given(conv_problems())
def test_flops_are_those_that_torch_counts(problem: ConvProblem) -> None:
    with FlopCounterMode(display=False) as counter:
        run_on_meta(problem)
    assert problem.flops == counter.get_total_flops()
    assert 2 * problem.macs == problem.flops


@laws
@given(conv_problems())
def test_taps_are_the_weights_of_one_output_channel(problem: ConvProblem) -> None:
    assert problem.taps == torch.empty(problem.weight_shape, device="meta")[0].numel()
    assert problem.macs == problem.taps * math.prod(problem.output_shape)


@laws
@given(conv_problems(), st.sampled_from([1, 2, 4, 8]))
def test_min_bytes_count_each_element_that_is_used_once(
    problem: ConvProblem, itemsize: int
) -> None:
    read = problem.batch_size * problem.in_channels * len(positions_read(problem))
    learnt = math.prod(problem.weight_shape) + (problem.out_channels if problem.bias else 0)
    moved = itemsize * (read + learnt + math.prod(problem.output_shape))
    assert problem.min_bytes(itemsize) == moved


@laws
@given(conv_problems())
def test_the_default_item_is_a_float32(problem: ConvProblem) -> None:
    assert problem.min_bytes() == problem.min_bytes(torch.float32.itemsize)


def test_a_strided_pointwise_problem_reads_a_quarter_of_its_input() -> None:
    problem = ConvProblem(8, 8, (6, 6), 1, stride=2)
    assert problem.min_bytes(1) == 8 * 9 + 64 + 8 * 9


@laws
@given(conv_problems())
def test_pointwise_is_a_kernel_of_one_everywhere(problem: ConvProblem) -> None:
    assert problem.is_pointwise == (math.prod(problem.kernel_size) == 1)


@laws
@given(conv_problems())
def test_depthwise_is_a_group_for_each_of_several_channels(problem: ConvProblem) -> None:
    one_each = problem.in_channels > 1 and problem.weight_shape[1] == 1
    assert problem.is_depthwise == one_each


@laws
@given(conv_problems(ranks=(2,)))
def test_strided_takes_the_pixels_that_a_pointwise_kernel_reads(problem: ConvProblem) -> None:
    x = torch.arange(math.prod(problem.input_size)).reshape(1, 1, *problem.input_size)
    view = problem.strided(x)
    assert torch.equal(view, x[:, :, :: problem.stride[0], :: problem.stride[1]])
    assert view.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
def test_a_whole_number_holds_for_every_dimension(rank: int, name: str) -> None:
    shape = {"in_channels": 2, "out_channels": 2, "input_size": (9,) * rank, "kernel_size": 2}
    problem = ConvProblem(**{**shape, name: 3})
    assert getattr(problem, name) == (3,) * rank
    assert problem == ConvProblem(**{**shape, name: [3] * rank})


def test_four_words_are_enough_for_a_problem() -> None:
    problem = ConvProblem(in_channels=4, out_channels=8, input_size=(5, 5), kernel_size=(3, 3))
    assert problem.label == "n1_ci4_co8_i5x5_k3x3_s1x1_p0x0_d1x1_g1_b0"


@pytest.mark.parametrize("whole", [np.int64, np.uint8, torch.tensor])
def test_every_kind_of_whole_number_is_a_plain_one_afterwards(whole: type) -> None:
    problem = ConvProblem(whole(4), whole(8), (whole(5), whole(5)), whole(3), groups=whole(2))
    assert problem == ConvProblem(4, 8, (5, 5), 3, groups=2)
    assert hash(problem) == hash(ConvProblem(4, 8, (5, 5), 3, groups=2))
    assert type(problem.in_channels) is type(problem.input_size[0]) is int


WHOLE = ["in_channels", "out_channels", "batch_size", "groups"]
SIZES = ["kernel_size", "stride", "padding", "dilation"]
NOT_WHOLE = [-1, True, False, 2.0, 1.5, float("nan"), "3", "three", None, [3.0]]


@pytest.mark.parametrize("name", [*WHOLE, *SIZES])
@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must [^\n]+$") as refusal:
        ConvProblem(**{**POSSIBLE, name: value})
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("name", ["input_size", *SIZES])
@pytest.mark.parametrize("value", NOT_WHOLE[:-1], ids=repr)
def test_what_is_no_whole_number_in_one_dimension_is_refused_by_name(
    name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must [^\n]+$") as refusal:
        ConvProblem(**{**POSSIBLE, name: (2, value)})
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("name", [*WHOLE, "kernel_size", "stride", "dilation"])
def test_zero_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, not 0$"):
        ConvProblem(**{**POSSIBLE, name: 0})


@pytest.mark.parametrize("name", ["input_size", *SIZES])
@pytest.mark.parametrize("value", [(), (1,), (1, 1, 1), (1, 1, 1, 1), "11"], ids=repr)
def test_a_wrong_rank_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
        ConvProblem(**{**POSSIBLE, "kernel_size": (1, 1), name: value})
    assert name in str(refusal.value) or "input_size" in str(refusal.value)
    assert repr(value) in str(refusal.value) or repr((1, 1)) in str(refusal.value)


@pytest.mark.parametrize("value", [5, 5.0, None, True], ids=repr)
def test_an_input_without_a_rank_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^input_size must [^\n]+$") as refusal:
        ConvProblem(**{**POSSIBLE, "input_size": value})
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [2, -1, 0.5, "1", "yes", None, []], ids=repr)
def test_a_bias_that_is_neither_true_nor_false_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^bias must be true or false, not ") as refusal:
        ConvProblem(**{**POSSIBLE, "bias": value})
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"groups": 3}, "groups=3 does not divide in_channels=4"),
        ({"groups": 4, "out_channels": 6}, "groups=4 does not divide out_channels=6"),
        ({"groups": 8}, "groups=8 does not divide in_channels=4"),
        ({"kernel_size": 6}, "kernel_size 6x6 .* larger than the padded input 5x5"),
        ({"kernel_size": (1, 6)}, "kernel_size 1x6 .* larger than the padded input 5x5"),
        ({"kernel_size": 10, "padding": 2}, "kernel_size 10x10 .* the padded input 9x9"),
        (
            {"dilation": 3},
            "kernel_size 3x3 at dilation 3x3 spans 7x7, larger than the padded input 5x5",
        ),
        ({"input_size": (2, 9)}, "kernel_size 3x3 .* larger than the padded input 2x9"),
    ],
    ids=str,
)
def test_an_impossible_problem_is_refused_and_says_why(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}$"):
        ConvProblem(**{**POSSIBLE, **wrong})


@laws
@given(conv_problems(), st.data())
def test_no_kernel_is_refused_that_torch_accepts(problem: ConvProblem, data: st.DataObject) -> None:
    """The largest input that is too small is refused, and the next one is possible."""
    dim = data.draw(st.integers(0, problem.rank - 1))
    span = problem.dilation[dim] * (problem.kernel_size[dim] - 1) + 1
    too_small = span - 2 * problem.padding[dim] - 1
    values = {field.name: getattr(problem, field.name) for field in fields(problem)}

    def at(size: int) -> ConvProblem:
        input_size = (*problem.input_size[:dim], size, *problem.input_size[dim + 1 :])
        return ConvProblem(**{**values, "input_size": input_size})

    assert at(max(1, too_small + 1)).output_size[dim] >= 1
    with pytest.raises(ValueError, match=r"larger than the padded input|input_size must"):
        at(too_small)


@laws
@given(conv_problems())
def test_equal_problems_are_one_key_and_none_can_change(problem: ConvProblem) -> None:
    twin = ConvProblem(**{field.name: getattr(problem, field.name) for field in fields(problem)})
    assert twin == problem
    assert twin is not problem
    assert {twin: "found"}[problem] == "found"
    for field in fields(problem):
        with pytest.raises(FrozenInstanceError):
            setattr(problem, field.name, getattr(problem, field.name))


def test_shapes_alone_import_no_numerical_library() -> None:
    script = (
        "import sys, convsweep.problems.problem;"
        "print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)), end='')"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout == "[]"
