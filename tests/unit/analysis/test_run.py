"""What a run's numbers say: the fastest, means and totals, also where passes are missing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convsweep.analysis.best_backend import fastest
from convsweep.analysis.estimates import estimate
from convsweep.analysis.run import Run, mean_speedup, network_totals, read_run
from convsweep.analysis.sample_flags import FLAGS
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.settings import setting_speedups
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.report.summary_text import summary_sentences
from convsweep.report.tables import unsteady_table
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support.intervals import geometric_interval

PROBLEMS = made.grid((16, 64), (14, 28), (3,))
BACKENDS = ("torch_conv", "im2col", "separable")
Read = Callable[[list[Row]], Run]


def measured(**how: object) -> list[Row]:
    return made.rows(PROBLEMS, **({"backends": BACKENDS, "noise": 0.01} | how))


def stopped_early(rows: list[Row], passes: int) -> list[Row]:
    """The rows of a run in which the 14x14 problems were left alone after so many passes."""
    return [row for row in rows if row.input_size != "14x14" or row.pass_index < passes]


def sentences_of(run: Run) -> list[str]:
    return summary_sentences(run, compare_settings(run), setting_speedups(run))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def of_passes(run: Run, backend: str) -> np.ndarray:
    """Log speedups, (problems, passes)."""
    times = run.pass_times.droplevel("setting")
    own, base = (times.xs(name, level="backend") for name in (backend, run.baseline))
    return np.log((base / own).to_numpy(dtype=float))


def test_a_mean_speedup_is_students_over_the_passes_means(read: Read) -> None:
    run = read(measured(passes=4))
    found = mean_speedup(run, "im2col")
    expected = geometric_interval(np.exp(of_passes(run, "im2col").mean(axis=0)))
    assert found.interval == pytest.approx(expected)
    assert found.problems == len(PROBLEMS)


def test_problems_that_stopped_early_keep_all_the_passes_that_others_have(read: Read) -> None:
    run = read(stopped_early(measured(passes=12), passes=3))
    found = mean_speedup(run, "im2col")
    each = estimate(of_passes(run, "im2col")).mean
    assert found.interval.value == pytest.approx(np.exp(each.mean()))
    assert found.problems == len(PROBLEMS)
    assert found.interval.low < found.interval.value < found.interval.high


def test_a_problem_of_one_pass_leaves_a_mean_without_an_interval(read: Read) -> None:
    found = mean_speedup(read(stopped_early(measured(), passes=1)), "im2col")
    assert found.interval.value > 0
    assert np.isnan(found.interval.low)


def test_a_mean_is_over_the_problems_that_both_have(read: Read) -> None:
    rows = [
        replace(row, status="timeout", median_s=None)
        if (row.backend, row.in_channels) == ("separable", 64)
        else row
        for row in measured()
    ]
    run = read(rows)
    assert mean_speedup(run, "separable").problems == 2
    assert mean_speedup(run, "im2col").problems == 4
    assert mean_speedup(run, "pointwise").problems == 0
    assert np.isnan(mean_speedup(run, "pointwise").interval.value)


@pytest.mark.parametrize("passes", [3, 5])
def test_a_networks_total_is_the_sum_of_its_layers_means(read: Read, passes: int) -> None:
    rows = [row for row in made.network() if row.layer != "stem" or row.pass_index < passes]
    run = read(rows)
    total = network_totals(run, "mobilenet_small")["torch_conv"]
    cases = run.cases[run.cases["backend"] == "torch_conv"]
    assert total.time.value == pytest.approx((cases["time_s"] * cases["layer_count"]).sum())
    assert total.layers == len(cases)
    assert total.time.low < total.time.value < total.time.high
    passes_s = run.pass_times.xs("torch_conv", level="backend").mul(
        cases["layer_count"].to_numpy(), axis=0
    )
    if passes == 5:  # to first order that of the totals of the passes
        expected = geometric_interval(passes_s.sum(axis=0).to_numpy(dtype=float))
        assert total.time == pytest.approx(expected, rel=2e-3)


def test_the_fastest_is_decided_where_it_beats_all_others(read: Read) -> None:
    found = fastest(read(measured(passes=8))).set_index("label")
    assert set(found["backend"]) == {"separable"}
    assert found["significant"].all()


def test_no_backend_is_the_fastest_where_passes_differ_by_half(read: Read) -> None:
    assert not fastest(read(measured(passes=3, noise=0.5)))["significant"].any()


def flagged(flags: str, backend: str, passes: int = 5) -> list[Row]:
    """The backend's 14x14 cases have these flags in so many of five passes."""
    return [
        replace(row, sample_flags=flags)
        if (row.backend, row.input_size) == (backend, "14x14") and row.pass_index < passes
        else row
        for row in measured()
    ]


def test_unsteady_cases_are_counted_and_their_flags_explained(read: Read) -> None:
    run = read(flagged("bimodal|drift", "im2col"))
    table = unsteady_table(run)
    assert table is not None
    assert table.heads == ("flag", "meaning", "cases", "such as")
    assert [(row[0], row[2]) for row in table.rows] == [("bimodal", "2"), ("drift", "2")]
    assert table.rows[0][1] == FLAGS["bimodal"]
    assert table.rows[0][3] == "im2col on C64 14x14"  # the slowest


@pytest.mark.parametrize("backends", [("torch_conv", "im2col"), ("torch_conv",)])
@pytest.mark.parametrize("passes", [1, 2])
def test_a_single_pass_decides_nothing(read: Read, passes: int, backends: Sequence[str]) -> None:
    rows = made.rows(made.grid((16,), (14,), (3,)), backends=backends, passes=passes)
    rows += [replace(row, dtype="bfloat16") for row in rows]
    found = ["one pass" in sentence for sentence in sentences_of(read(rows))]
    assert found.count(True) == (passes == 1)


def test_a_flag_of_fewer_than_half_the_passes_is_no_matter(read: Read) -> None:
    run = read(flagged("drift", "im2col", passes=2))
    assert not unsteady_table(run).rows


def test_a_flag_of_another_version_is_shown_and_cases_are_counted(read: Read) -> None:
    run = read([replace(row, sample_flags="haunted") for row in measured()])
    (row,) = unsteady_table(run).rows
    assert row[:3] == ("haunted", "unknown to this version", "12")


@pytest.mark.usefixtures("undrawn")
def test_the_report_shows_unsteady_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convsweep.report.plots.figures", lambda *_: [])
    for name, passes in (("with", 5), ("without", 0)):
        run_dir = made.write(tmp_path / name, flagged("drift", "im2col", passes))
        page = write_report(run_dir, tmp_path / f"{name} report")
        assert (FLAGS["drift"] in page.read_text(encoding="utf-8")) == bool(passes)
