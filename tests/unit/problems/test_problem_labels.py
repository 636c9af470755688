"""Labels and sizes of problems, written and parsed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.problems.problem import ConvProblem, format_size, parse_size
from tests.support.strategies import conv_problems

laws = settings(max_examples=60)


@laws
@given(conv_problems())
def test_parsing_a_label_gives_the_problem_back(problem: ConvProblem) -> None:
    assert ConvProblem.parse(problem.label) == problem


@laws
@given(conv_problems(), conv_problems())
def test_labels_are_equal_exactly_where_problems_are(a: ConvProblem, b: ConvProblem) -> None:
    assert (a.label == b.label) == (a == b)


@pytest.mark.parametrize(
    ("problem", "label"),
    [
        (
            ConvProblem(64, 64, (56, 56), 3, padding=1),
            "n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0",
        ),
        (
            ConvProblem(4, 8, (9,), 3, batch_size=2, stride=2, groups=4, bias=True),
            "n2_ci4_co8_i9_k3_s2_p0_d1_g4_b1",
        ),
        (
            ConvProblem(1, 2, (5, 6, 7), (1, 2, 3), padding=(0, 1, 2), dilation=2),
            "n1_ci1_co2_i5x6x7_k1x2x3_s1x1x1_p0x1x2_d2x2x2_g1_b0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_label_is_written_as_other_programs_know_it(problem: ConvProblem, label: str) -> None:
    assert problem.label == label


@pytest.mark.parametrize(
    "label",
    [
        "",
        "conv",
        "n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1",
        "n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b2",
        "n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0\n",
        "n1_ci4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0_",
        "n1_ci-4_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0",
        "n1_ci\u0664_co4_i5x5_k3x3_s1x1_p1x1_d1x1_g1_b0",
    ],
)
def test_what_is_no_label_is_refused_by_name(label: str) -> None:
    with pytest.raises(ValueError, match="not a problem's label") as refusal:
        ConvProblem.parse(label)
    assert repr(label) in str(refusal.value)


@pytest.mark.parametrize(
    "label",
    [
        "n1_ci4_co4_ix_k3_s1_p0_d1_g1_b0",
        "n1_ci4_co4_i5x_k3_s1_p0_d1_g1_b0",
        "n1_ci4_co4_i5x5_k3_s1_p0_d1_g1_b0",
        "n1_ci4_co4_i5_k6_s1_p0_d1_g1_b0",
        "n1_ci4_co4_i5_k3_s1_p0_d1_g3_b0",
        "n0_ci4_co4_i5_k3_s1_p0_d1_g1_b0",
    ],
)
def test_a_label_of_an_impossible_problem_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        ConvProblem.parse(label)


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=4).map(tuple))
def test_parsing_a_size_gives_it_back(size: tuple[int, ...]) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "x", "5x", "x5", "5X5", "-5", "5.0", " 5", "\u0665", "5x5\n"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a size") as refusal:
        parse_size(text)
    assert repr(text) in str(refusal.value)
