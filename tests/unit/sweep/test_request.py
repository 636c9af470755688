from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.backends.registry import list_backends
from convsweep.problems.case import DTYPES, MEMORY_FORMATS, WEIGHT_KINDS
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import PROBLEM_COLUMNS, workloads
from convsweep.sweep.chosen_layers import DEFAULT_GRID
from convsweep.sweep.request import Options, Request, aa_request, read_request
from convsweep.system import devices as device
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


@pytest.fixture(autouse=True)
def _only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device_names", lambda: ["cpu"])


@pytest.fixture
def problems_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str) -> Path:
        path = tmp_path / "my layers.csv"
        path.write_text("\n".join([",".join(PROBLEM_COLUMNS), *rows]) + "\n")
        return path

    return write


def of(request: Request, part: str) -> list[object]:
    """The different values that the cases have there."""
    return list(dict.fromkeys(getattr(case, part) for case in request.cases))


def refusal(options: Options) -> str:
    """Why the request is refused, in one line."""
    with pytest.raises(ValueError, match=r".") as raised:
        read_request(options)
    message = str(raised.value)
    assert message.isprintable()
    return message


UNKNOWN = ["none-such", "", "SMOKE", "two\nlines"]


@pytest.mark.parametrize("word", UNKNOWN, ids=repr)
@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("grid", GRIDS),
        ("workloads", workloads()),
        ("backends", list_backends()),
        ("devices", ["cpu"]),
        ("dtypes", DTYPES),
        ("memory_formats", MEMORY_FORMATS),
        ("weight_kind", WEIGHT_KINDS),
        ("baseline", FIVE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_word_is_named_and_so_are_those_allowed(
    option: str, allowed: list[str], word: str
) -> None:
    value = word if option in ("grid", "weight_kind", "baseline") else [word]
    message = refusal(Options(**{option: value}))
    assert repr(word) in message
    assert all(name in message for name in allowed)


@pytest.mark.parametrize("option", ["backends", "devices", "dtypes", "memory_formats"])
def test_one_unknown_word_among_good_ones_is_enough(option: str) -> None:
    good = {"backends": "loop", "devices": "cpu", "dtypes": "float64"}
    words = [good.get(option, "contiguous"), "wrong"]
    assert "'wrong'" in refusal(replace(SMOKE, **{option: words}))


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "cpu:0", "CPU"])
def test_a_device_that_is_not_there_is_refused_and_those_that_are_are_named(name: str) -> None:
    message = refusal(replace(SMOKE, devices=["cpu", name]))
    assert repr(name) in message
    assert message.endswith("cpu")


def test_a_baseline_must_take_part() -> None:
    message = refusal(replace(SMOKE, backends=["loop", "im2col"], baseline="torch_conv"))
    assert "'torch_conv'" in message
    assert "loop, im2col" in message


@pytest.mark.parametrize("passes", [0, -1])
def test_at_least_one_pass_is_needed(passes: int) -> None:
    message = refusal(replace(SMOKE, passes=passes))
    assert f"--passes {passes} " in message
    assert "from 1 to" in message


@pytest.mark.parametrize("threads", [0, -1, usable_cores() + 1, 10**6])
def test_threads_are_one_to_the_number_of_cores(threads: int) -> None:
    message = refusal(replace(SMOKE, threads=[1, threads]))
    assert f"--threads {threads} " in message
    assert f"from 1 to {usable_cores()}" in message


BAD_TIMES = ["", "soon", "0", "0s", "0.0ms", "-1", "-5s", "1e3", "5 s", "5sec", "s", "inf", "nan"]


@pytest.mark.parametrize("text", [*BAD_TIMES, "\u0665s", "5s\n", "9" * 400, "99999h"], ids=repr)
def test_what_is_no_time_above_zero_is_refused_by_name(text: str) -> None:
    message = refusal(replace(SMOKE, case_timeout=text))
    assert repr(text) in message
    assert "10s" in message


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


SOURCES = {
    "--grid": {"grid": "smoke"},
    "--workload": {"workloads": ["resnet18"]},
    "--problems": {"problems": Path("layers.csv")},
    "--axis": {"axes": ["size=7"]},
    "--problem": {"labels": ["n1_ci8_co8_i9x9_k3x3_s1x1_p1x1_d1x1_g1_b0"]},
}


@pytest.mark.parametrize("one", SOURCES)
@pytest.mark.parametrize("other", SOURCES)
def test_two_sources_of_problems_exclude_each_other(one: str, other: str) -> None:
    if one != other:
        message = refusal(Options(**SOURCES[one], **SOURCES[other]))
        assert one in message
        assert other in message


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        (["channels=4"], "'channels=4'"),
        (["size=0"], "'0'"),
        (["in_channels=8:4:+1"], "in_channels=8:4:+1"),
        (["size=7", "size=9"], "'size'"),
        (["in_channels=6", "groups=4"], "groups=4"),
    ],
)
def test_bad_axes_are_refused_by_name(axes: list[str], named: str) -> None:
    assert named in refusal(Options(axes=axes))


@pytest.mark.parametrize(
    ("rows", "named"),
    [([], "no problem"), ([ROW, "1,many"], "line 3"), ([ROW.replace("1", "0", 1)], "line 2")],
)
def test_a_bad_file_is_refused_by_name(
    problems_csv: Callable[..., Path], rows: list[str], named: str
) -> None:
    path = problems_csv(*rows)
    message = refusal(Options(problems=path))
    assert named in message
    assert repr(str(path)) in message


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


def test_reading_a_request_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read_request(Options())
    refusal(replace(SMOKE, passes=0))
    assert list(tmp_path.iterdir()) == []
