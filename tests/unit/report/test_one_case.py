"""One case of a run: found by its words, and measured again by the printed command."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.summary import summarize
from convsweep.backends.variants import find_backend
from convsweep.cli.run import run as run_command
from convsweep.measure.outcome import Outcome, RunInfo, make_row
from convsweep.problems.case import Case, cross
from convsweep.problems.workloads import Layer, workloads
from convsweep.report.one_case import case_table, find_cases
from convsweep.results.store import RunFolder, write_environment
from convsweep.sweep.request import Options, read_request
from tests.support.row_factory import write
from tests.support.synthetic_runs import grid, rows
from tests.support.typed_commands import Command, typing_into

INFO = RunInfo("run", "e0", {"cpu": "a processor", "vulkan": "a device"})
LABELS = (
    "n2_ci4_co8_i9x7_k3x1_s2x1_p1x0_d1x2_g2_b1",
    "n1_ci4_co4_i33_k5_s1_p2_d1_g4_b0",
    "n1_ci4_co4_i5x6x7_k3x3x3_s1x1x1_p1x1x1_d1x1x1_g1_b0",
    "n2_ci17_co17_i8_k3_s2_p1_d1_g1_b0_e2",
    "n1_ci8_co4_i5x5_k3x3_s2x2_p1x1_d1x1_g1_b0_t1x1",
)
OF_PROBLEMS = Options(labels=LABELS, backends=["torch_conv", "im2col"], weight_kind="dense")
OF_SETTINGS = Options(
    labels=LABELS[:1],
    backends=["torch_conv"],
    dtypes=["float64", "bfloat16"],
    memory_formats=["channels_last"],
    caches=["cold"],
    directions=["training", "backward_input"],
    blocks=["conv_bn_act"],
    threads=[1],
)
OF_LAYERS = Options(
    workloads=["resnet18", "mobilenetv2_100"],
    backends=["torch_conv", "separable"],
    batch_sizes=[1, 8],
)


def written(path: Path, cases: list[Case]) -> Path:
    """A run in which every case has a time."""
    outcome = Outcome("ok", median_s=1e-5, relative_err=3e-7, implementation="one_kernel")
    rows = [make_row(INFO, case, find_backend(case.backend), 0, outcome) for case in cases]
    write(path, rows)
    write_environment(path, {"request": {"allocator": "system"}})
    return path


@pytest.fixture
def show(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return typing_into(capfd, monkeypatch, "show")


@pytest.mark.parametrize(
    "options", [OF_PROBLEMS, OF_SETTINGS, OF_LAYERS], ids=["problems", "settings", "layers"]
)
def test_the_printed_command_measures_the_same_case(
    options: Options, show: Command, tmp_path: Path
) -> None:
    cases = list(read_request(options).cases)
    path = written(tmp_path / "run", cases)
    for number in range(1, len(cases) + 1, max(1, len(cases) // 8)):
        printed = show(path, str(number)).out
        *_, line = printed.splitlines()
        words = shlex.split(line.partition(": convsweep run ")[2])
        chosen = run_command.make_context("run", words).params
        request = read_request(
            Options(**{name: chosen[name] for name in vars(Options()) if name in chosen})
        )
        [case] = request.cases
        assert case in cases
        assert request.allocator == "system"
        assert case.problem.label in printed
        assert f" {case.dtype} " in printed
        named = show(path, case.problem.label, case.backend, case.dtype, case.direction)
        assert named.code == 0 or case.layer.name is not None


def test_values_are_readable(show: Command, tmp_path: Path) -> None:
    [layer] = map(Layer, grid((8,), (7,), (3,)))
    printed = show(written(tmp_path / "run", cross([layer], ["torch_conv"])), "C8").out
    values = dict(line.split(maxsplit=1) for line in printed.splitlines()[:-1])
    read = {name: values[name].strip() for name in ("time_s", "implementation", "relative_err")}
    assert read == {
        "time_s": "10.0 µs",
        "implementation": "one_kernel",
        "relative_err": "3.0e-07",
    }


@pytest.mark.parametrize(("slower", "passes"), [(1.0, "10"), (1.5, "5 of 10, 5 disturbed")])
def test_disturbed_passes_are_counted(
    slower: float, passes: str, show: Command, tmp_path: Path
) -> None:
    problems = grid((8, 16), (7,), (3,))
    of_runs = rows(problems, backends=["torch_conv"], passes=10, noise=0, seconds=lambda *_: 1e-3)
    factors = [slower if row.pass_index % 2 else 1.0 for row in of_runs]
    names = ("min_s", "p05_s", "median_s", "p95_s")
    write(
        tmp_path / "run",
        [
            replace(row, **{name: factor * getattr(row, name) for name in names})
            for row, factor in zip(of_runs, factors, strict=True)
        ],
    )
    write_environment(tmp_path / "run", {})
    printed = show(tmp_path / "run", problems[0].label).out
    values = dict(line.split(maxsplit=1) for line in printed.splitlines()[:-1])
    assert values["passes"].strip() == passes


def test_a_case_is_found_by_whole_words_before_pieces(show: Command, tmp_path: Path) -> None:
    layers = [*workloads()["resnet18"][:2]]
    run = written(tmp_path / "run", cross(layers, ["separable", "separable_numba", "torch_conv"]))
    assert show(run, layers[0].name or "", "separable").code == 0
    assert show(run, f"{layers[0].problem.label} separable").code == 0
    assert show(run, layers[0].name or "", "numba").code == 0
    several = show(run, "separable")
    assert (several.code, several.err.count("\n")) == (2, 1)
    assert "2 cases" in several.err
    assert all(layer.name in several.out for layer in layers if layer.name)
    for words in (("nothing",), ("999",), ("0",)):
        assert repr(words[0]) in show(run, *words).err


@pytest.mark.parametrize("fraction", [0.9, 1.1])
def test_a_rate_above_the_roof_has_a_remark(fraction: float, tmp_path: Path) -> None:
    [layer] = map(Layer, grid((8,), (7,), (3,)))
    folder = RunFolder(written(tmp_path / "run", cross([layer], ["torch_conv"])))
    summary = summarize(folder.measurements).assign(roofline_fraction=fraction)
    [row] = find_cases(summary, ["C8"]).to_dict("records")
    values = dict(case_table(row, folder.measurements).rows)
    assert ("roof" in values["roofline_fraction"]) == (fraction > 1)
