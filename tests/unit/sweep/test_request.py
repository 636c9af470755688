from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.backends.registry import list_backends
from convsweep.problems.case import DTYPES, MEMORY_FORMATS, WEIGHT_KINDS
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import workloads
from convsweep.sweep.chosen_layers import DEFAULT_GRID
from convsweep.sweep.request import Options, Request, aa_request, read_request
from convsweep.system.environment import usable_cores
from convsweep.system.processor import cpu_name
from convsweep.units import seconds

SMOKE = Options(grid="smoke")
TEXTBOOK = [
    name
    for name, backend in list_backends().items()
    if backend.family == "basic" and not backend.only_by_name
]
FIVE = ("loop", "im2col", "pointwise", "torch_conv", "separable")
ROW = "1,4,9,9,8,3,3,1,1,1,1,1,1,1,0"

pytestmark = pytest.mark.usefixtures("only_a_cpu")


def of(request: Request, part: str) -> list[object]:
    """The different values that the cases have there."""
    return list(dict.fromkeys(getattr(case, part) for case in request.cases))


@pytest.mark.parametrize(
    ("text", "value_s"),
    [
        ("90s", 90.0),
        ("90", 90.0),
        ("500ms", 0.5),
        ("0.25", 0.25),
        ("2m", 120.0),
        ("1.5min", 90.0),
        ("1h", 3600.0),
    ],
)
def test_a_time_has_a_unit_or_is_in_seconds(text: str, value_s: float) -> None:
    assert seconds(text) == pytest.approx(value_s)
    assert read_request(replace(SMOKE, case_timeout=text)).case_timeout_s == seconds(text)


def test_nothing_asked_is_the_quick_grid_on_one_thread_of_the_cpu() -> None:
    request = read_request(Options())
    quick = GRIDS[DEFAULT_GRID]
    assert (request.name, request.baseline) == (DEFAULT_GRID, "torch_conv")
    assert of(request, "layer") == quick.layers()
    assert {case.backend for case in request.cases} == set(request.backends) == set(FIVE)
    for part, value in {
        "device": "cpu",
        "dtype": "float32",
        "memory_format": "contiguous",
        "threads": 1,
    }.items():
        assert of(request, part) == [value]
    assert request.device_descriptions == {"cpu": cpu_name()}


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_brings_its_own_passes_time_limit_and_backends(name: str) -> None:
    grid, request = GRIDS[name], read_request(Options(grid=name))
    assert (request.name, request.passes, request.case_timeout_s) == (
        name,
        grid.passes,
        grid.case_timeout_s,
    )
    usual = [name for name in TEXTBOOK if name != "loop"]
    named = TEXTBOOK if grid.backends == ("basic",) else grid.backends
    assert set(request.backends) == set(named or usual)
    assert of(request, "layer") == grid.layers()


@pytest.mark.parametrize(
    "chosen",
    [{"axes": ["size=7", "in_channels=2"]}, {"workloads": ["resnet18"]}, {"grid": "channels"}],
    ids=repr,
)
def test_the_loop_runs_beyond_small_grids_only_if_it_or_its_family_is_named(
    chosen: dict[str, object],
) -> None:
    assert set(read_request(Options(**chosen)).backends) == {*TEXTBOOK} - {"loop"}
    for word in ("loop", "basic", "all"):
        names = read_request(Options(**chosen, backends=[word])).backends
        assert "loop" in names
        assert "torch_conv_autocast" not in names  # computes in another dtype


def test_a_noise_request_with_a_budget_ends_no_case_early() -> None:
    plain = replace(SMOKE, backends=["torch_conv"], passes=3)
    assert not aa_request(read_request(plain)).adaptive
    timed = aa_request(read_request(replace(plain, budget="9s")))
    assert (timed.budget_s, timed.precision) == (9.0, 0.0)


def test_a_budget_counts_from_the_start_of_the_command() -> None:
    assert read_request(replace(SMOKE, budget="9s", started_s=5.0)).started_s == 5.0


@pytest.mark.parametrize(
    ("budget", "ceilings", "measured"),
    [("19s", None, False), ("20s", None, True), (None, None, True), ("19s", True, True)],
)
def test_a_short_budget_is_for_the_cases_alone(
    budget: str | None, ceilings: bool | None, measured: bool
) -> None:
    request = read_request(replace(SMOKE, budget=budget, ceilings=ceilings))
    assert request.peak_memory == bool(request.ceilings) == measured


def test_a_family_stands_for_its_backends() -> None:
    engines = {name for name, backend in list_backends().items() if backend.family == "engines"}
    assert set(read_request(replace(SMOKE, backends=["engines"])).backends) == engines > set()
    assert set(read_request(replace(SMOKE, backends=["all"])).backends) == {
        name for name, backend in list_backends().items() if not backend.only_by_name
    }
    both = read_request(replace(SMOKE, backends=["torch_conv", "engines", "torch_conv"]))
    assert next(iter(both.backends)) == "torch_conv"
    assert len(both.backends) == 1 + len(engines)


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_asked_for_goes_before_the_grids_own(name: str) -> None:
    wanted = Options(grid=name, passes=7, case_timeout="3s", backends=["loop", "im2col"])
    request = read_request(wanted)
    assert (request.passes, request.case_timeout_s) == (7, 3.0)
    assert list(request.backends) == ["loop", "im2col"]


@pytest.mark.parametrize(
    ("names", "wanted", "baseline"),
    [
        ([], None, "torch_conv"),
        (["im2col", "torch_conv"], None, "torch_conv"),
        (["im2col", "loop"], None, "im2col"),
        (["im2col", "loop"], "loop", "loop"),
        ([], "separable", "separable"),
    ],
)
def test_the_baseline_is_torch_conv_or_the_first_backend_unless_one_is_named(
    names: list[str], wanted: str | None, baseline: str
) -> None:
    assert read_request(replace(SMOKE, backends=names, baseline=wanted)).baseline == baseline


def test_the_layers_of_networks_come_one_after_another() -> None:
    request = read_request(Options(workloads=["vgg16", "resnet18"], backends=["torch_conv"]))
    assert request.name == "vgg16+resnet18"
    assert of(request, "layer") == [*workloads()["vgg16"], *workloads()["resnet18"]]
    assert len(request.cases) == len(of(request, "layer"))


def test_a_files_problems_take_its_name(problems_csv: Callable[..., Path]) -> None:
    request = read_request(Options(problems=problems_csv(ROW), backends=["loop"]))
    assert request.name == "my layers"
    assert of(request, "problem") == [ConvProblem(4, 8, (9, 9), 3, padding=1)]


def test_axes_span_the_problems() -> None:
    request = read_request(Options(axes=["in_channels=2,4", "size=7"], backends=["loop"]))
    assert of(request, "problem") == [ConvProblem(c, c, (7, 7), 3, padding=1) for c in (2, 4)]


@pytest.mark.parametrize(
    "axes",
    [
        ["kernel_size=3,3x3"],
        ["in_channels=16,016"],
        ["in_channels=16", "out_channels=16,same"],
        ["in_channels=1", "groups=1,depthwise"],
        ["padding=1,same"],
    ],
    ids=" ".join,
)
def test_a_problem_that_is_spelt_in_two_ways_is_one_case(axes: list[str]) -> None:
    count = len(read_request(Options(axes=axes, backends=["loop"])).cases)
    assert count == 1


def test_a_problem_that_a_file_has_twice_is_one_case(problems_csv: Callable[..., Path]) -> None:
    wanted = Options(problems=problems_csv(ROW, ROW), backends=["loop"])
    count = len(read_request(wanted).cases)
    assert count == 1


def test_a_word_given_twice_counts_once() -> None:
    twice = Options(
        workloads=["resnet18"] * 2,
        backends=["loop"] * 2,
        devices=["cpu"] * 2,
        dtypes=["float64"] * 2,
        memory_formats=["channels_last"] * 2,
        threads=[1] * 2,
    )
    assert len(read_request(twice).cases) == len(workloads()["resnet18"])


def test_lists_cross_and_every_case_is_asked_once() -> None:
    wanted = replace(
        SMOKE, dtypes=DTYPES, memory_formats=MEMORY_FORMATS, threads=range(1, usable_cores() + 1)
    )
    cases = read_request(wanted).cases
    each = len(GRIDS["smoke"].layers()) * len(TEXTBOOK) * len(DTYPES) * len(MEMORY_FORMATS)
    assert len(set(cases)) == len(cases) == each * usable_cores()


@pytest.mark.parametrize("weight_kind", WEIGHT_KINDS)
def test_weights_are_of_the_kind_asked_for_where_they_can_be(weight_kind: str) -> None:
    for case in read_request(replace(SMOKE, weight_kind=weight_kind)).cases:
        assert case.weight_kind in {weight_kind, "dense"}
        assert case.weight_kind == weight_kind or case.problem.is_pointwise
