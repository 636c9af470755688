import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep.problems.axes import DEFAULTS, MAX_PROBLEMS, MAX_VALUES, parse_axis, span
from convsweep.problems.conv_call import convolution_problem
from convsweep.problems.problem import ConvProblem

COUNTS = ["batch_size", "in_channels", "out_channels", "groups"]
SIZES = ["size", "kernel_size", "stride", "dilation"]


def problems(*texts: str) -> list[ConvProblem]:
    return span(map(parse_axis, texts))


def refusal(*texts: str) -> str:
    """Why the axes are refused, in one line."""
    with pytest.raises(ValueError, match=r".") as raised:
        problems(*texts)
    message = str(raised.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("in_channels=16:512:*2", [16, 32, 64, 128, 256, 512]),
        ("in_channels=16:500:*2", [16, 32, 64, 128, 256]),
        ("in_channels=3:100:*10", [3, 30]),
        ("in_channels=5:5:*2", [5]),
        ("in_channels=8:32:+8", [8, 16, 24, 32]),
        ("in_channels=8:31:+8", [8, 16, 24]),
        ("in_channels=7:7:+100", [7]),
        ("in_channels=16,24,40", [16, 24, 40]),
        ("in_channels=40,16", [40, 16]),
        ("in_channels=9", [9]),
        ("in_channels=4,4,8,4", [4, 8]),
    ],
)
def test_ranges_and_lists_are_written_out_in_their_order(text: str, values: list[int]) -> None:
    assert [problem.in_channels for problem in problems(text)] == values


@given(st.integers(1, 999), st.integers(0, 999), st.integers(1, 99))
def test_a_stepped_range_counts_as_python_does(first: int, more: int, step: int) -> None:
    _, values = parse_axis(f"size={first}:{first + more}:+{step}")
    assert list(map(int, values)) == list(range(first, first + more + 1, step))


@given(st.integers(1, 99), st.integers(0, 10_000), st.integers(2, 9))
def test_a_factored_range_multiplies_up_to_its_last_value(
    first: int, more: int, factor: int
) -> None:
    values = list(map(int, parse_axis(f"size={first}:{first + more}:*{factor}")[1]))
    assert values[0] == first
    assert all(b == factor * a for a, b in itertools.pairwise(values))
    assert values[-1] <= first + more < factor * values[-1]


def test_no_axis_is_one_problem_of_the_defaults() -> None:
    assert problems() == [ConvProblem(64, 64, (56, 56), 3, padding=1)]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_written_out_changes_nothing(name: str) -> None:
    assert problems(f"{name}={DEFAULTS[name]}") == problems()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
            "in_channels": st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
            "size": st.lists(st.integers(7, 20), min_size=1, max_size=3, unique=True),
            "kernel_size": st.lists(st.sampled_from([1, 3, 5]), min_size=1, unique=True),
            "bias": st.lists(st.sampled_from([0, 1]), min_size=1, unique=True),
        },
    )
)
def test_axes_span_every_combination_once_the_last_fastest(axes: dict[str, list[int]]) -> None:
    spanned = problems(*(f"{name}={','.join(map(str, axes[name]))}" for name in axes))
    read = {
        "batch_size": lambda p: p.batch_size,
        "in_channels": lambda p: p.in_channels,
        "size": lambda p: p.input_size[0],
        "kernel_size": lambda p: p.kernel_size[0],
        "bias": lambda p: p.bias,
    }
    combinations = [tuple(read[name](problem) for name in axes) for problem in spanned]
    assert combinations == list(itertools.product(*axes.values()))


def test_out_channels_follow_in_channels_where_they_are_the_same() -> None:
    spanned = problems("in_channels=4,8", "out_channels=same,16")
    assert [(p.in_channels, p.out_channels) for p in spanned] == [(4, 4), (4, 16), (8, 8), (8, 16)]


def test_depthwise_is_a_group_for_each_channel() -> None:
    spanned = problems("in_channels=4,8", "groups=depthwise")
    assert [problem.groups for problem in spanned] == [4, 8]
    assert all(problem.is_depthwise for problem in spanned)


@pytest.mark.parametrize("kernel_size", ["1", "2", "3", "4", "7", "3x1", "2x5", "3x4x2"])
@pytest.mark.parametrize("dilation", ["1", "2", "3"])
def test_same_padding_keeps_the_images_size_as_torch_does(kernel_size: str, dilation: str) -> None:
    [problem] = problems(f"kernel_size={kernel_size}", f"dilation={dilation}", "size=9")
    size = (9,) * problem.rank
    assert problem.output_size == size
    x, weight = torch.empty(1, 64, *size), torch.empty(problem.weight_shape)
    assert problem == convolution_problem(x, weight, None, 1, "same", problem.dilation)


@pytest.mark.parametrize("kernel_size", ["2", "3", "4", "5"])
def test_same_padding_at_a_stride_rounds_up(kernel_size: str) -> None:
    spanned = problems(f"kernel_size={kernel_size}", "stride=2,3", "size=9")
    assert [problem.output_size for problem in spanned] == [(5, 5), (3, 3)]


@pytest.mark.parametrize("text", ["padding=0", "padding=0x0"])
def test_no_padding_is_a_value_and_shrinks_the_image(text: str) -> None:
    assert problems(text)[0].output_size == (54, 54)


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ("1024x", (1024,)),
        ("7", (7, 7)),
        ("56x40", (56, 40)),
        ("14x14x14", (14, 14, 14)),
        ("4x5x6", (4, 5, 6)),
    ],
)
def test_a_size_says_how_many_dimensions_there_are(size: str, input_size: tuple) -> None:
    [problem] = problems(f"size={size}", "kernel_size=3", "padding=1")
    assert problem.input_size == input_size
    assert problem.kernel_size == (3,) * len(input_size)
    assert problem.padding == (1,) * len(input_size)


def test_one_list_may_hold_sizes_of_every_rank() -> None:
    assert [problem.rank for problem in problems("size=16x,16,16x9,8x8x8")] == [1, 2, 2, 3]


def test_each_dimension_may_have_its_own_value() -> None:
    [problem] = problems("kernel_size=3x1", "stride=2x1", "padding=1x0", "dilation=2x1")
    assert problem == ConvProblem(
        64, 64, (56, 56), (3, 1), stride=(2, 1), padding=(1, 0), dilation=(2, 1)
    )


@pytest.mark.parametrize(
    "text", ["channels=4", "", "=4", "in_channels", "IN_CHANNELS=4", " size=4"]
)
def test_an_unknown_axis_is_refused_and_all_are_named(text: str) -> None:
    message = refusal(text)
    assert repr(text) in message
    assert all(name in message for name in DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "many",
        "-4",
        "4.5",
        " 4",
        "4 ",
        "1e2",
        "\u0664",
        "9" * 10,
        "None",
        "3;5",
        "1:4",
        "1:4:2",
        "1:4:*2.5",
        "-1:4:+1",
        "a:4:+1",
        "1:4:/2",
        "4\n",
    ],
)
def test_what_is_no_value_is_refused_by_name(name: str, value: str) -> None:
    message = refusal(f"{name}={value}")
    assert repr(f"{name}={value}") in message
    assert "only" in message


@pytest.mark.parametrize("name", [*COUNTS, *SIZES])
def test_zero_is_refused_by_name(name: str) -> None:
    message = refusal(f"{name}=4,0")
    assert f"{name}=4,0" in message
    assert "'0'" in message


@pytest.mark.parametrize("name", [*COUNTS, *SIZES])
@pytest.mark.parametrize("values", ["8,", ",8", "8,,16", ","])
def test_a_gap_in_a_list_is_refused_by_name(name: str, values: str) -> None:
    message = refusal(f"{name}={values}")
    assert f"{name}={values}" in message
    assert "''" in message


@pytest.mark.parametrize("name", [*COUNTS, *SIZES])
@pytest.mark.parametrize(
    "values", ["64:8:+8", "64:8:*2", "8:64:+0", "8:64:*1", "8:64:*0", "0:8:*2"]
)
def test_an_empty_or_endless_range_is_refused_by_name(name: str, values: str) -> None:
    message = refusal(f"{name}={values}")
    assert f"{name}={values}" in message
    assert "at least" in message


@pytest.mark.parametrize("value", ["2", "true", "same", "-1", "0x1"])
def test_a_bias_is_0_or_1(value: str) -> None:
    message = refusal(f"bias={value}")
    assert f"'{value}'" in message
    assert "0, 1" in message


@pytest.mark.parametrize("word", ["same", "depthwise"])
@pytest.mark.parametrize("name", ["batch_size", "in_channels", *SIZES, "bias"])
def test_a_word_is_refused_where_it_means_nothing(name: str, word: str) -> None:
    assert repr(word) in refusal(f"{name}={word}")


@pytest.mark.parametrize("name", ["out_channels", "groups"])
def test_a_word_that_is_allowed_is_named_in_the_refusal(name: str) -> None:
    word = {"out_channels": "same", "groups": "depthwise"}[name]
    assert word in refusal(f"{name}=many")


@pytest.mark.parametrize("name", [*SIZES, "padding"])
def test_more_than_three_dimensions_are_refused_by_name(name: str) -> None:
    assert "'1x1x1x1'" in refusal(f"{name}=1x1x1x1")


@pytest.mark.parametrize("size", ["14x14x", "x14", "x", "14xx", "14x14x14x"])
def test_only_one_number_before_an_x_is_a_signal(size: str) -> None:
    assert size in refusal(f"size={size}")


@pytest.mark.parametrize(
    "text", [f"size=1:{MAX_VALUES + 1}:+1", f"size={','.join(map(str, range(1, 10_002)))}"]
)
def test_too_many_values_are_refused(text: str) -> None:
    message = refusal(text)
    assert str(MAX_VALUES) in message
    assert len(parse_axis(f"size=1:{MAX_VALUES}:+1")[1]) == MAX_VALUES


def test_too_many_problems_are_refused_before_any_is_made() -> None:
    message = refusal("in_channels=1:1000:+1", "out_channels=1:1000:+1", "size=1:1000:+1")
    assert str(MAX_PROBLEMS) in message
    assert "in_channels, out_channels, size" in message


def test_the_same_axis_twice_is_refused_by_name() -> None:
    assert "'in_channels' is given twice" in refusal("in_channels=4", "size=7", "in_channels=8")


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["in_channels=4,6", "groups=4"], "groups=4 does not divide in_channels=6"),
        (["in_channels=4", "out_channels=6", "groups=4"], "groups=4 does not divide out_channels"),
        (["in_channels=4", "out_channels=2", "groups=depthwise"], "does not divide out_channels=2"),
        (["size=3", "kernel_size=7", "padding=0"], "kernel_size 7x7"),
        (["size=9", "dilation=5", "padding=0"], "dilation 5x5"),
        (["size=1024x", "kernel_size=3x3"], "(3, 3)"),
        (["size=14x14", "kernel_size=3x3x3"], "(3, 3, 3)"),
        (["padding=1x1x1"], "(1, 1, 1)"),
    ],
    ids=" ".join,
)
def test_an_impossible_combination_is_refused_and_says_why(texts: list[str], named: str) -> None:
    assert named in refusal(*texts)


def test_an_output_padding_is_of_the_transposed_problems_alone() -> None:
    axes = ("transposed=0,1", "output_padding=0,1", "stride=2", "padding=1")
    found = [(one.transposed, one.output_padding) for one in span(map(parse_axis, axes))]
    assert found == [(False, (0, 0)), (True, (0, 0)), (True, (1, 1))]
    with pytest.raises(ValueError, match="output_padding needs a transposed"):
        span(map(parse_axis, axes[1:]))
