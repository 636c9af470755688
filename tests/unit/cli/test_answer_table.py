"""Table of a run's results: its limits in width and length, and what it shows within them."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.cli import output
from convsweep.cli.answer_table import MAX_LINES, answer
from convsweep.cli.console import DataConsole
from convsweep.cli.sweep_command import print_results
from convsweep.problems.problem import ConvProblem
from convsweep.results import store
from convsweep.results.schema import Row
from convsweep.results.store import RunFolder
from convsweep.sweep.session import SweepResult
from convsweep.sweep.stopping import OpenComparisons
from tests.support import synthetic_runs as made
from tests.support.synthetic_runs import grid, rows, square

ENGINES = ["torch_conv", *(f"engine_with_a_long_name_{n}" for n in range(29))]
CRASHED = ("crash", "signal 11")


def engine_s(problem: ConvProblem, backend: str, device: str) -> float:
    """Return less time for later engines."""
    return 1e-4 / (1 + 0.1 * ENGINES.index(backend)) * problem.in_channels


def in_settings(rows: list[Row], number: int) -> list[Row]:
    return [replace(row, threads=n) for n in range(1, number + 1) for row in rows]


def networks(number: int) -> list[Row]:
    layer = "features.very.long.path.to.a.layer.{}.conv"
    return [
        replace(row, workload=f"network{n}_of_many", layer=layer.format(row.layer))
        for n in range(number)
        for row in made.network(passes=2)
    ]


PAIR = ["torch_conv", "im2col"]
RUNS: dict[str, Callable[[], list[Row]]] = {
    "1 x 30": lambda: rows(grid((16,), (14,), (3,)), backends=ENGINES, passes=3, seconds=engine_s,
                            noise=1e-4),
    "200 x 2": lambda: rows(grid(range(1, 101), (7, 14), (1,)), backends=PAIR, passes=2),
    "40 x 30": lambda: rows(grid(range(1, 41), (7,), (1,)), backends=ENGINES, passes=1,
                            seconds=engine_s),
    "one network": lambda: networks(1),
    "15 networks": lambda: networks(15),
    "6 settings": lambda: in_settings(rows(grid((4, 16), (7, 14)), passes=2), 6),
    "30 settings": lambda: in_settings(rows([square(4, 7, 3)], passes=1), 30),
    "networks in 6 settings": lambda: in_settings(networks(15), 6),
    "all failed": lambda: rows([square(4, 7, 3)], passes=1, judge=lambda *_: CRASHED),
    "all skipped": lambda: rows([square(4, 7, 3)], passes=1, judge=lambda *_: ("skipped", "no")),
    "no baseline": lambda: rows(grid((4,), (7,)), backends=["im2col"], passes=2),
}  # fmt: skip


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path) -> Run:
    return read(RUNS[request.param](), tmp_path)


def read(rows: list[Row], folder) -> Run:
    measurements = store.load(made.write(folder / "run", rows))
    return read_run(measurements, summarize(measurements))


def printed(run: Run, width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    DataConsole(file=file, width=width).print(answer(run, width))
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_the_table_keeps_to_its_limits_and_names_what_it_leaves_out(run: Run) -> None:
    for width in (80, 100):
        lines = printed(run, width)
        assert 2 < len(lines) <= MAX_LINES
        assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    timed = run.cases.loc[run.cases["status"] == "ok", "backend"].nunique()
    problems = run.cases["label"].nunique()
    assert "summary.csv" in text or problems * len(run.settings) < MAX_LINES
    assert "summary.csv" not in text or problems * timed * len(run.settings) > 10
    assert ("? undecided" in text) == ("x?" in text)
    assert ("- does not apply" in text) == any(" - " in f"{line} " for line in lines[:-1])


def test_one_problem_has_a_row_per_backend_with_the_fastest_first(tmp_path) -> None:
    lines = printed(read(RUNS["1 x 30"](), tmp_path), 100)
    assert [line.split()[0] for line in lines[2:]] == [ENGINES[0], *reversed(ENGINES[1:])]


def test_the_fastest_backends_are_shown(tmp_path) -> None:
    run = read(RUNS["40 x 30"](), tmp_path)
    _, head, *lines = printed(run, 100)
    shown = head.split()[1:]
    assert shown == [ENGINES[0], *reversed(ENGINES[31 - len(shown) :])]
    assert f"Not shown: {30 - len(shown)} backends, 3 problems (in summary.csv)" in lines[-1]


def test_layers_of_long_names_that_do_not_fit_are_counted(tmp_path) -> None:
    names = {square(16, size, 3).label: f"features.{size}.of_a_very_long_name" for size in (7, 14)}
    measured = rows(grid((16,), (7, 14), (3,)), backends=ENGINES[:5], passes=2, seconds=engine_s)
    named = [replace(row, workload="network", layer=names[row.problem]) for row in measured]
    _, head, *lines = printed(read(named, tmp_path), 100)
    assert head.count("of_a_very_long_name") == 1
    assert "Not shown: 1 problem (in summary.csv)" in lines[-1]


@pytest.mark.parametrize("sizes", [(7, 14), (7, 14, 28), (7, 14, 28, 56, 112)])
def test_all_image_sizes_of_a_large_grid_are_shown(sizes: tuple[int, ...], tmp_path) -> None:
    problems = grid(range(1, 1 + 80 // len(sizes)), sizes, (1,))
    lines = printed(read(rows(problems, backends=PAIR, passes=1), tmp_path), 100)[2:-1]
    sides = [line.split()[1] for line in lines]
    for half in (sides[:18], sides[18:]):
        assert {*half} == {f"{size}x{size}" for size in sizes}


def test_failures_are_shown_by_name(tmp_path) -> None:
    assert "crash" in "\n".join(printed(read(RUNS["all failed"](), tmp_path), 100))


@pytest.mark.parametrize("environments", [0, 9])
def test_a_run_ends_with_the_table_six_sentences_and_its_paths(
    environments: int, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    broken = [f"broken{n}" for n in range(30)]
    failed = rows([square(4, 7, 3)], backends=broken, passes=1, judge=lambda *_: CRASHED)
    folder = RunFolder(made.write(tmp_path / "run", rows(grid(), noise=0.5, passes=2) + failed))
    summary = summarize(folder.measurements)
    left = (OpenComparisons(cases=3, early=1, more_s=90.0, on_the_margin=1),) * environments
    sentences: list[str] = []
    monkeypatch.setattr(output, "print_sentences", sentences.extend)
    assert print_results(SweepResult("budget", False, folder, summary, left)) == 1
    lines = capsys.readouterr().out.splitlines()
    table = next(place for place, line in enumerate(lines) if line.startswith("Time per call"))
    assert 2 <= len(sentences) <= 6
    assert len(lines) - table <= MAX_LINES + len(["failures"]) * 6 + len(["results", "report"])
    assert [line.split(":")[0] for line in lines[-2:]] == ["Results", "Report"]
