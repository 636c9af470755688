"""Transposed problems have names of their own and are in no mean of a run with others."""

from dataclasses import replace
from pathlib import Path

import pytest

from convsweep import ConvProblem
from convsweep.analysis.run import Run, mean_speedup, read_run
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.report.summary_text import name_left_out
from convsweep.results.store import load
from tests.support import synthetic_runs as made

PLAIN = [ConvProblem(64, 64, (28, 28), k, padding=k // 2) for k in (3, 5)]
TRANSPOSED = [replace(problem, transposed=True) for problem in PLAIN]
UNEVEN = ConvProblem(64, 64, (28, 28), 4, padding=1, padding_end=2)


def read(folder: Path, problems: list[ConvProblem]) -> Run:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        slow = problem.transposed and backend == "torch_conv"
        return made.modelled_s(problem, backend, device) * (100 if slow else 1)

    rows = made.rows(problems, backends=("torch_conv", "im2col"), seconds=seconds)
    measurements = load(made.write(folder, rows))
    return read_run(measurements, summarize(measurements))


def test_labels_name_both_kinds(tmp_path: Path) -> None:
    run = read(tmp_path, [*PLAIN, *TRANSPOSED, UNEVEN, replace(UNEVEN, padding_end=(3, 3))])
    found = run.cases.drop_duplicates("problem").set_index("problem")["label"]
    assert found.nunique() == len(found)
    assert ["transposed" in found[p.label] for p in (*PLAIN, *TRANSPOSED)] == [
        False,
        False,
        True,
        True,
    ]
    assert found[UNEVEN.label].split()[-1] == "p1+2"


def test_means_are_of_the_other_problems(tmp_path: Path) -> None:
    both, plain = read(tmp_path / "both", [*PLAIN, *TRANSPOSED]), read(tmp_path / "plain", PLAIN)
    [sentence] = name_left_out(both)
    assert "Transposed" in sentence
    assert " and 1 more" in sentence
    assert name_left_out(plain) == []
    of_both, of_plain = (mean_speedup(run.for_means, "im2col") for run in (both, plain))
    assert of_both.problems == of_plain.problems == len(PLAIN)
    assert of_both.interval.value == pytest.approx(of_plain.interval.value, rel=0.1)


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_transposed_problems_alone_has_means_and_a_report(tmp_path: Path) -> None:
    run = read(tmp_path / "run", TRANSPOSED)
    assert name_left_out(run) == []
    assert mean_speedup(run.for_means, "im2col").problems == len(TRANSPOSED)
    write_report(tmp_path / "run", tmp_path / "report")
    assert "transposed" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
