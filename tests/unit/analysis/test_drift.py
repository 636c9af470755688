"""Drift between repeated runs: its size, its intervals, and the runs that show it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame

from convsweep.analysis.drift import measure_drift
from convsweep.analysis.estimates import Estimate, half_width, widened
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.results import store
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")

PROBLEMS = [made.square(channels, 8, 3) for channels in range(1, 9)]
ROWS = made.rows(PROBLEMS, backends=("torch_conv", "im2col"), passes=6, noise=0.0)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return store.load(made.write(tmp_path_factory.mktemp("run"), ROWS, made.ENVIRONMENT))


def times(rows: DataFrame | list[Row], seed: int, drift: float) -> np.ndarray:
    """Seconds of a run; half of the variance of its drift is common to all problems."""
    rng = np.random.default_rng(seed)
    of_problem = rng.normal(0, drift * 0.5**0.5) + rng.normal(0, drift * 0.5**0.5, len(PROBLEMS))
    labels = [problem.label for problem in PROBLEMS]
    table = DataFrame(rows)[["problem", "backend"]]
    own = of_problem[table["problem"].map(labels.index)] * (table["backend"] != "torch_conv")
    return np.asarray(1e-3 * np.exp(rng.normal(0, 0.02, len(table)) + own))


def by_name(runs: list[DataFrame]) -> dict[str, DataFrame]:
    return {str(place): rows for place, rows in enumerate(runs)}


def test_intervals_with_the_drift_contain_the_true_speedup(rows: DataFrame) -> None:
    covered: list[list[bool]] = [[], []]
    for trial in range(8):
        repeated = [rows.assign(median_s=times(rows, 10 * trial + i, 0.05)) for i in range(4)]
        drift = measure_drift(by_name(repeated), "torch_conv")
        assert drift is not None
        assert drift.deviation.low <= drift.deviation.value <= drift.deviation.high
        for found, known in zip(covered, (None, drift), strict=True):
            cases = summarize(repeated[0], drift=known).query("backend == 'im2col'")
            found += [*(cases["speedup_ci_low"] <= 1) & (cases["speedup_ci_high"] >= 1)]
    without, with_drift = map(np.mean, covered)
    assert without < 0.8
    assert with_drift > 0.9


def test_each_comparison_has_its_own_drift_and_others_that_of_all(rows: DataFrame) -> None:
    known = rows["problem"] != PROBLEMS[0].label
    drifts = rows["problem"].eq(PROBLEMS[1].label) & (rows["backend"] != "torch_conv")
    level = np.random.default_rng(3).normal(0, 0.2, 8)
    runs = [
        rows.assign(median_s=times(rows, i, 0.01) * np.exp(level[i] * drifts)) for i in range(8)
    ]
    drift = measure_drift(by_name([run[known] for run in runs]), "torch_conv")
    assert drift is not None
    cases = summarize(rows).query("backend == 'im2col'")
    errors = dict(zip(cases["problem"], drift.errors(cases).standard_error, strict=True))
    missing, much, *little = (errors[problem.label] for problem in PROBLEMS)
    assert missing == drift.error.standard_error
    assert much > 0.1 > 0.03 > max(little)


@pytest.mark.parametrize("drift", [0.0, 1e-3, 0.01, 1.0])
@pytest.mark.parametrize("degrees", [1.0, 2.0, 30.0])
def test_an_interval_with_the_drift_is_no_narrower(drift: float, degrees: float) -> None:
    found = Estimate(np.zeros(1), np.full(1, 0.01), np.full(1, 2.0))
    of_runs = Estimate(np.zeros(1), np.full(1, drift), np.full(1, degrees))
    assert half_width(widened(found, of_runs)) >= half_width(found) * (1 - 1e-12)


def test_runs_without_drift_keep_their_intervals(rows: DataFrame) -> None:
    run = rows.assign(median_s=times(rows, 1, 0.0))
    drift = measure_drift(by_name([run] * 3), "torch_conv")
    assert drift is not None
    assert drift.deviation.value == 0
    columns = ["speedup", "speedup_ci_low", "speedup_ci_high"]
    before, after = summarize(run)[columns], summarize(run, drift=drift)[columns]
    assert np.allclose(before, after, equal_nan=True)


def test_drift_takes_three_runs_of_the_same_cases_on_one_machine(rows: DataFrame) -> None:
    runs = [rows.assign(median_s=times(rows, i, 0.05)) for i in range(3)]
    assert measure_drift(by_name(runs[:2]), "torch_conv") is None
    elsewhere = [*runs[:2], runs[2].assign(environment_id="e1")]
    assert measure_drift(by_name(elsewhere), "torch_conv") is None
    again = rows["backend"].replace("im2col", "torch_conv+again")
    equals = [run.assign(backend=again) for run in runs]
    assert measure_drift(by_name(equals), "torch_conv") is None
    found = measure_drift(by_name([*equals, *runs]), "torch_conv")
    assert found is not None
    assert {*found.runs} == {"3", "4", "5"}


@pytest.mark.usefixtures("undrawn")
def test_a_report_widens_intervals_by_the_drift_of_runs_that_are_named(tmp_path: Path) -> None:
    for i in range(3):
        more = [1.5**i if row.problem == PROBLEMS[3].label and row.backend == "im2col" else 1.0
                for row in ROWS]  # fmt: skip
        own = times(ROWS, i, 0.05) * more
        timed = [
            replace(row, median_s=float(seconds)) for row, seconds in zip(ROWS, own, strict=True)
        ]
        made.write(tmp_path / str(i), timed, made.ENVIRONMENT)
    others = [tmp_path / "1", tmp_path / "2"]
    alone = write_report(tmp_path / "0", tmp_path / "alone").with_name("report.md")
    named = write_report(tmp_path / "0", tmp_path / "named", others=others).with_name("report.md")
    assert "drift by" not in alone.read_text(encoding="utf-8")
    text = named.read_text(encoding="utf-8")
    assert "drift by" in text
    assert "that of im2col on C4 most" in text
    for twice in ([tmp_path / "0"], [*others, others[0]]):
        with pytest.raises(ValueError, match="given twice"):
            write_report(tmp_path / "0", tmp_path / "one", others=twice)
    with pytest.raises(ValueError, match="name a noise run"):
        write_report(tmp_path / "0", tmp_path / "one", others=others[:1])
    assert not (tmp_path / "one").exists()
