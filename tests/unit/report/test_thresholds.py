"""From how many channels on separable layers are faster: one answer in all outputs."""

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from convsweep.analysis.network_totals import REPLACED, network_sums
from convsweep.analysis.run import Run, mean_speedup, read_run
from convsweep.analysis.separable.pairing import compare_separable, compare_settings
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.build import write_report
from convsweep.report.plots import crossover, predicted_speedup
from convsweep.report.plots.style import drawing_style
from convsweep.report.summary_text import summary_sentences
from convsweep.results.store import load
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")

PAIR = ("torch_conv", "separable")
CHANNELS, SIZES = (8, 16, 32, 64), (7, 14, 28)
FC = ConvProblem(512, 4096, (7, 7), 7)


def seconds(problem: ConvProblem, backend: str, device: str) -> float:
    """Times of any order: faster or slower from problem to problem."""
    chance = random.Random(problem.label).random()
    return 1e-3 if backend != "separable" else 1e-3 * (0.5 if chance < 0.75 else 2)


def read(run_dir: Path, problems: list[ConvProblem], **how: object) -> Run:
    made.write(run_dir, made.rows(problems, backends=PAIR, noise=1e-3, **how), made.ENVIRONMENT)
    return read_run(load(run_dir), summarize(load(run_dir)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    irregular = [made.square(8, 7, 3, batch_size=4), made.square(64, 14, 5, bias=True)]
    problems = [*made.grid(CHANNELS, SIZES, (3, 5)), *irregular]
    return read(tmp_path_factory.mktemp("thresholds") / "run", problems, seconds=seconds)


def test_a_threshold_is_the_least_number_without_a_loss_from_there_on(run: Run):
    comparison = compare_separable(run)
    found = comparison.replacements
    for each in comparison.thresholds:
        at_size = [r for r in found if f"i{each.size}_" in r.problem.label]
        assert each.problems == len(at_size)
        assert each.faster == sum(r.verdict == "faster" for r in at_size)

        def wins_from(channels: int, at_size: list = at_size) -> bool:
            above = [r for r in at_size if r.problem.in_channels >= channels]
            return all(r.verdict == "faster" for r in above)

        winning = [channels for channels in each.measured if wins_from(channels)]
        assert each.channels == min(winning, default=None)


@pytest.mark.parametrize("slow", [(), (14,), (7, 14)])
def test_only_decided_comparisons_make_a_negative_threshold(slow: tuple[int, ...], tmp_path: Path):
    rows = [
        row
        for size in (7, 14)
        for row in made.rows(
            made.grid((16, 64), (size,), (3,)),
            backends=PAIR,
            noise=0 if size in slow else 2.0,
            passes=3,
            seconds=lambda problem, backend, device: 1e-3 * (1 + (backend == "separable")),
        )
    ]
    made.write(tmp_path / "run", rows, made.ENVIRONMENT)
    run = read_run(load(tmp_path / "run"), summarize(load(tmp_path / "run")))
    [comparison] = (found := compare_settings(run)).values()
    open_sizes = {each.size for each in comparison.thresholds if each.text == "undecided"}
    assert open_sizes == {f"{size}x{size}" for size in (7, 14) if size not in slow}
    negative = [one for one in summary_sentences(run, found, []) if "not always faster" in one]
    assert len(negative) == bool(slow)
    assert all(("any image size" in one) == (len(slow) == 2) for one in negative)


def test_text_table_and_figure_have_the_same_thresholds(run: Run, tmp_path: Path):
    found = compare_settings(run)
    [comparison] = found.values()
    summary = summary_sentences(run, found, [])
    verdict, sentence = (one for one in summary if one.startswith("separable "))
    expected = {each.size: each.channels for each in comparison.thresholds}
    assert len(expected) == len(SIZES)
    said = {
        size: int(channels)
        for channels, sizes in re.findall(
            r"from (\d+) channels on at ([\dx]+(?:(?:, | and )[\dx]+)*)", sentence
        )
        for size in re.split(", | and ", sizes)
    }
    assert said == {size: channels for size, channels in expected.items() if channels}
    without = sentence.partition("not at ")[2]
    assert {size for size in expected if size in without} == expected.keys() - said.keys()
    with drawing_style():
        picture = crossover.draw(run, {"": comparison})
    lines = [p for ax in picture.figure.axes for p in ax.patches if isinstance(p, StepPatch)]
    assert lines
    for line in lines:
        drawn = [sum(c < (expected[f"{s}x{s}"] or 1e9) for c in CHANNELS) - 0.5 for s in SIZES]
        assert np.array_equal(line.get_data().values, drawn)
    wins = sum(r.verdict == "faster" for r in comparison.replacements)
    for text in (verdict, picture.caption):
        assert f"in {wins} of {len(comparison.replacements)} problems" in text


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (FC, True),
        (ConvProblem(8, 8, (5,), 5), True),
        (ConvProblem(8, 8, (1, 1), 3, padding=1), True),
        (ConvProblem(8, 8, (7, 7), 7, padding=3), False),
        (ConvProblem(8, 8, (7, 7), 7, groups=8), False),
        (ConvProblem(8, 8, (1, 1), 1), False),
        (ConvProblem(8, 8, (8, 8), 7, stride=2), False),
        (ConvProblem(8, 8, (7, 1), (3, 1), dilation=(3, 1)), True),
    ],
)
def test_a_kernel_that_covers_its_input_is_a_fully_connected_layer(problem, expected):
    assert problem.is_fully_connected == expected


def test_a_fully_connected_layer_is_named_and_moves_no_mean_and_no_axis(tmp_path: Path):
    def times(problem: ConvProblem, backend: str, device: str) -> float:
        fast = 250 if problem == FC else 2
        return 1e-3 if backend != "separable" else 1e-3 / fast

    usual = made.grid((16, 64), (14, 28), (3,))
    one, both = (read(tmp_path / name, problems, seconds=times)
                 for name, problems in (("one", usual), ("both", [*usual, FC])))  # fmt: skip
    [label] = both.fully_connected
    shown = both.for_means
    assert mean_speedup(shown, "separable").problems == len(usual)
    with drawing_style():
        limits = [predicted_speedup.draw(run, "separable").figure.axes[0].get_ylim()[1]
                  for run in (one, shown)]  # fmt: skip
    assert limits[1] < 2 * limits[0]
    page = write_report(tmp_path / "both", tmp_path / "report").with_name("report.md").read_text()
    overview, _, evidence = page.partition("<details>")
    assert label in overview
    assert f"of {len(usual)} problems" in overview
    assert label in evidence


def test_a_run_of_fully_connected_layers_alone_has_a_report(tmp_path: Path):
    run = read(tmp_path / "run", [FC])
    assert run.for_means is run
    assert write_report(tmp_path / "run", tmp_path / "report").is_file()


def test_a_network_keeps_its_fully_connected_layer(tmp_path: Path):
    layers = [("conv", made.square(64, 14, 3)), ("fc", FC)]
    rows = [
        replace(row, workload="net", layer=name)
        for name, problem in layers
        for row in made.rows([problem], backends=PAIR)
    ]
    made.write(tmp_path / "run", rows, made.ENVIRONMENT)
    [found] = network_sums(read_run(load(tmp_path / "run"), summarize(load(tmp_path / "run"))))
    assert sorted(found.choices[REPLACED].backends.values()) == sorted(PAIR)
