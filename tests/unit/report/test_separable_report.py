"""Sentences on separable layers: the numbers of the data, and none that are missing."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.gap import find_gaps
from convsweep.analysis.separable.pairing import compare_separable, compare_settings
from convsweep.analysis.settings import setting_speedups
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import separable_macs
from convsweep.report.build import write_report
from convsweep.report.next_commands import not_covered
from convsweep.report.sections.separable import explanation, section
from convsweep.report.summary_text import MOST_WORDS, summary_sentences, verdict_sentences
from convsweep.results.schema import ROOFLINE, Row
from convsweep.results.store import RunFolder, load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

pytestmark = pytest.mark.usefixtures("unexplored")

Read = Callable[[list[Row]], Run]
PROBLEMS = made.grid((8, 32, 128), (14, 28), (3,))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def measured(speedup: Callable[[ConvProblem], float], **how: float) -> list[Row]:
    """Rows in which each replacement has this speedup; without roofline and parts."""

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-4 / (speedup(problem) if backend == "separable" else 1)

    return made.rows(
        PROBLEMS, backends=study_of.PAIR, seconds=seconds, **({"passes": 4, "noise": 0.005} | how)
    )


def numbers(sentence: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", sentence)]


@pytest.mark.parametrize("channels", [8, 32, 256])
def test_the_verdict_has_counts_mean_and_mac_ratio(read: Read, channels: int) -> None:
    run = read(measured(lambda p: 4.0 if p.in_channels >= channels else 0.5))
    (found,) = compare_settings(run).values()
    verdict, threshold = verdict_sentences(run, compare_settings(run))
    wins = sum(p.in_channels >= channels for p in PROBLEMS)
    assert numbers(verdict)[-3:-1] == [wins, len(PROBLEMS)]
    shown = [numbers(verdict)[place] for place in (0, 1, 2, -1)]
    assert shown == pytest.approx([*found.speedup, found.mac_ratio], rel=1e-2)
    assert (f"from {channels} channels on at " in threshold) == (wins > 0)
    ratios = [p.macs / separable_macs(p) for p in PROBLEMS]
    assert found.mac_ratio == pytest.approx(math.prod(ratios) ** (1 / len(ratios)))


def test_one_pass_decides_nothing_and_has_no_interval(read: Read) -> None:
    run = read(measured(lambda p: 4.0, passes=1))
    [verdict] = verdict_sentences(run, compare_settings(run))
    assert numbers(verdict)[-3:-1] == [0, 6]
    assert "(" not in verdict


def test_settings_are_named(read: Read) -> None:
    double = [replace(row, dtype="float64") for row in measured(lambda p: 0.5)]
    run = read(measured(lambda p: 4.0) + double)
    found = summary_sentences(run, compare_settings(run), setting_speedups(run))
    starts = [sentence.split(":")[0] for sentence in found if sentence.startswith("On ")]
    assert starts == ["On cpu, float32"] * 2 + ["On cpu, float64"] * 2


def test_the_explanation_has_the_shares_of_the_parts(read: Read) -> None:
    found = compare_separable(read(study_of.rows(PROBLEMS)))
    [sentence] = explanation(found)
    shares = [100 * found.mean_share(name) for name in ("depthwise", "pointwise")]
    assert numbers(sentence) == pytest.approx(shares, rel=5e-2)


@pytest.mark.parametrize("passes", [1, 4])
def test_no_sentence_has_a_missing_number(read: Read, passes: int) -> None:
    run = read(study_of.rows(PROBLEMS, passes=passes))
    found = summary_sentences(run, compare_settings(run), setting_speedups(run))
    assert not any(word in sentence for sentence in found for word in ("nan", "not measured"))


def test_without_separable_nothing_is_said_of_it(read: Read) -> None:
    run = read(made.rows(PROBLEMS, backends=("torch_conv", "im2col")))
    assert not any(
        "separable" in text
        for text in summary_sentences(run, compare_settings(run), setting_speedups(run))
    )


def test_the_gap_is_on_the_page_and_in_a_file(tmp_path: Path) -> None:
    rows = [
        replace(row, memory_format=name, median_s=row.median_s and share * row.median_s)
        for name, share in (("contiguous", 1.0), ("channels_last", 0.6))
        for row in study_of.rows(made.grid((8, 32), (14,), (3,)))
    ]
    out = tmp_path / "out"
    write_report(made.write(tmp_path / "run", study_of.traced(rows)), out)
    text = (out / "report.md").read_text()
    [sentence] = {one for one in text.splitlines() if "most to" in one if one[0] != "-"}
    assert f"- {sentence}" in text.splitlines()  # of the first screen
    assert len(sentence.split()) <= MOST_WORDS
    assert "channels_last helps in" in sentence
    table = pd.read_csv(out / "separable_gap.csv")
    assert table.groupby(["setting", "label"])["share"].sum().to_list() == pytest.approx([1] * 4)
    untraced = study_of.rows(made.grid((8,), (14,), (3,)))
    write_report(made.write(tmp_path / "older", untraced, made.ENVIRONMENT), out)
    assert not (out / "separable_gap.csv").exists()
    lines = (out / "report.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("Not covered by this run: kernels and reord")]


@pytest.mark.parametrize(("left_out", "counted"), [("", True), (ROOFLINE, False)])
def test_problems_without_a_clear_trace_are_counted(
    read: Read, left_out: str, counted: bool
) -> None:
    def slow(row: Row) -> Row:
        return replace(row, kernel_s=row.kernel_s and 2 * row.kernel_s)

    rows = [
        slow(row) if row.problem == PROBLEMS[0].label else row
        for row in study_of.traced(study_of.rows(PROBLEMS[:3]))
        if row.role != left_out
    ]
    run = read(rows)
    comparisons = compare_settings(run)
    gaps = {name: find_gaps(found.headline) for name, found in comparisons.items()}
    assert (found := section(run, comparisons, gaps))
    assert ("1 of 3 problems" in found.note) == counted


@pytest.mark.parametrize("probes", [(), ("copy",)])
def test_a_missing_roofline_is_named_with_a_command_without_a_budget(
    tmp_path: Path, probes: tuple[str, ...]
) -> None:
    rows = study_of.traced(study_of.rows(PROBLEMS[:1]))
    kept = [row for row in rows if row.role != ROOFLINE or row.backend in probes]
    command = {"command": "convsweep run --grid quick --budget 80s --passes 4 --out results/quick"}
    run = made.write(tmp_path / "run", kept, made.ENVIRONMENT | command)
    names, words = not_covered(RunFolder(run))
    assert "roofline" in names
    assert "--budget" not in words
    assert "--passes 4" in words
