import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.backends.base import FAMILIES
from convsweep.backends.registry import list_backends
from convsweep.problems.case import DTYPES, MEMORY_FORMATS, WEIGHT_KINDS, cross
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from tests.support.strategies import conv_problems

FIXED = ("smoke", "quick", "channels", "sizes", "kernels", "depthwise", "batch", "full")

# in_channels, size, out_channels, stride: the layers of MobileNetV1 that other tools were tried on.
EIGHT_PAIRS = [
    (32, 112, 64, 1),
    (64, 56, 128, 1),
    (128, 56, 128, 1),
    (128, 28, 256, 2),
    (256, 28, 256, 1),
    (256, 14, 512, 1),
    (512, 14, 512, 1),
    (512, 7, 1024, 1),
]

layer_lists = st.lists(conv_problems().map(Layer), min_size=1, max_size=3, unique=True)


def named(choices: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=3, unique=True)


crossings = st.fixed_dictionaries(
    {
        "layers": layer_lists,
        "backends": named(("loop", "im2col", "torch_conv")),
        "devices": named(("cpu", "cuda", "cuda:1")),
        "dtypes": named(DTYPES),
        "memory_formats": named(MEMORY_FORMATS),
        "threads": st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
    }
)


def problems(name: str) -> list[ConvProblem]:
    return [layer.problem for layer in GRIDS[name].layers()]


def test_the_grids_keep_their_names() -> None:
    assert set(FIXED) <= set(GRIDS)


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_each_problem_once(name: str) -> None:
    found = problems(name)
    assert found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_says_what_it_is_about_in_one_line(name: str) -> None:
    assert GRIDS[name].about.isprintable()
    assert GRIDS[name].about


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_can_be_repeated_and_ends(name: str) -> None:
    assert GRIDS[name].passes >= 2
    assert GRIDS[name].case_timeout_s > 0


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_asks_only_backends_that_there_are(name: str) -> None:
    assert set(GRIDS[name].backends or ()) <= {*list_backends(), *FAMILIES}


@pytest.mark.parametrize("name", ["channels", "sizes", "kernels", "depthwise", "batch"])
def test_the_full_grid_covers_the_others(name: str) -> None:
    assert set(problems(name)) <= set(problems("full"))


def test_the_full_grid_varies_every_part_of_a_problem() -> None:
    found = problems("full")
    assert {problem.rank for problem in found} == {1, 2, 3}
    for part in ("stride", "padding", "dilation", "groups", "bias", "batch_size", "kernel_size"):
        assert len({getattr(problem, part) for problem in found}) > 1
    assert any(problem.is_depthwise for problem in found)


def test_the_depthwise_grid_has_the_eight_pairs() -> None:
    pairs = [
        ConvProblem(i, o, (size, size), 3, stride=stride, padding=1)
        for i, size, o, stride in EIGHT_PAIRS
    ]
    assert set(pairs) <= set(problems("depthwise"))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("channels", "in_channels"),
        ("sizes", "input_size"),
        ("kernels", "kernel_size"),
        ("batch", "batch_size"),
        ("quick", "in_channels"),
        ("quick", "input_size"),
    ],
)
def test_a_grid_varies_what_it_is_named_after(name: str, part: str) -> None:
    assert len({getattr(problem, part) for problem in problems(name)}) >= 4


@given(crossings)
def test_a_cross_has_every_combination_once(chosen: dict) -> None:
    cases = cross(**chosen)
    combinations = [
        (c.layer, c.device, c.dtype, c.memory_format, c.threads, c.backend) for c in cases
    ]
    assert len(set(cases)) == len(cases)
    assert combinations == list(
        itertools.product(
            chosen["layers"],
            chosen["devices"],
            chosen["dtypes"],
            chosen["memory_formats"],
            chosen["threads"],
            chosen["backends"],
        )
    )


@given(crossings)
def test_a_group_is_one_problem_on_all_backends_side_by_side(chosen: dict) -> None:
    groups = [list(g) for _, g in itertools.groupby(cross(**chosen), key=lambda case: case.group)]
    assert len({cases[0].group for cases in groups}) == len(groups)
    for cases in groups:
        assert [case.backend for case in cases] == chosen["backends"]
        assert len({case.problem for case in cases}) == 1


@given(layer_lists, st.sampled_from(WEIGHT_KINDS))
def test_a_weight_factors_where_it_is_wanted_and_can(layers: list[Layer], wanted: str) -> None:
    for case in cross(layers, ["loop"], weight_kind=wanted):
        can = case.problem.groups == 1 and max(case.problem.kernel_size) > 1
        assert case.weight_kind == (wanted if can else "dense")


def test_a_plain_case_is_float32_on_one_thread_of_the_cpu() -> None:
    [case] = cross([Layer(ConvProblem(2, 2, (5, 5), 3))], ["loop"])
    assert (case.device, case.dtype, case.memory_format, case.threads, case.weight_kind) == (
        "cpu",
        "float32",
        "contiguous",
        1,
        "separable",
    )
    assert case.problem == case.layer.problem
