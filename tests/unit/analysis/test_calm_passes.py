"""Passes that are kept of a long run on a shared machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convsweep.analysis.calm_passes import only_calm
from convsweep.analysis.cases import read_cases
from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.results.schema import ROOFLINE, Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made

PROBLEMS = np.repeat(np.arange(6), 2)


def times(passes: int, deviation: float = 0.01) -> np.ndarray:
    """Logarithms of times of two backends on each problem."""
    rng = np.random.default_rng(3)
    return rng.normal(np.arange(len(PROBLEMS))[:, np.newaxis], deviation, (len(PROBLEMS), passes))


def test_passes_that_slow_everything_down_are_left_out() -> None:
    log_s = times(30)
    log_s[:, 4:16] += np.linspace(0.3, 0.6, len(PROBLEMS))[:, np.newaxis]  # some suffer more
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert not kept[:, 4:16].any()
    assert kept.sum() == 18 * len(PROBLEMS)


@pytest.mark.parametrize(("passes", "least"), [(4, 3), (7, 3), (8, 4), (30, 15)])
def test_half_of_the_passes_are_kept_of_a_machine_that_is_never_calm(
    passes: int, least: int
) -> None:
    log_s = times(passes) + np.arange(passes) / 10
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert kept[:, :least].all()
    assert not kept[:, least:].any()


def test_all_passes_of_a_calm_machine_are_kept() -> None:
    assert np.array_equal(only_calm(times(30), PROBLEMS), times(30))


def test_a_problems_own_times_do_not_decide() -> None:
    log_s = times(30)
    log_s[:, ::3] += 0.2
    before = np.isnan(only_calm(log_s, PROBLEMS))[:2]
    assert before.any()
    log_s[:2] += np.random.default_rng(4).normal(0, 1, (2, 30))
    assert np.array_equal(np.isnan(only_calm(log_s, PROBLEMS))[:2], before)


@pytest.mark.parametrize("log_s", [times(3), times(30)[:2], times(30)[:0]])
def test_few_passes_or_a_single_problem_are_kept(log_s: np.ndarray) -> None:
    assert np.array_equal(only_calm(log_s, PROBLEMS[: len(log_s)]), log_s)


def test_passes_without_other_problems_are_kept() -> None:
    log_s = times(40)
    log_s[2:, 20:] = np.nan
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert kept[:2, 20:].all()
    assert kept[2:, :20].all()


def loaded(rows: list[Row], folder: Path) -> pd.DataFrame:
    return load(made.write(folder, rows))


def rows_of(environment_id: str, seed: int, **changes: object) -> list[Row]:
    """Three problems on two backends; passes 0 to 9 are slow on machine `a`, the rest on `b`."""
    problems = made.grid((16, 32, 64), (14,), (3,))
    rows = made.rows(problems, backends=("torch_conv", "im2col"), passes=30, noise=0.01, seed=seed)
    return [
        replace(
            row,
            environment_id=environment_id,
            median_s=row.median_s
            * (1.5 if (row.pass_index < 10) == (environment_id == "a") else 1),
            **changes,
        )
        for row in rows
    ]


def test_one_machine_does_not_decide_for_another(tmp_path: Path) -> None:
    merged = read_cases(
        loaded([*rows_of("a", 1), *rows_of("b", 2)], tmp_path / "run"), "torch_conv"
    )
    for name, seed in (("a", 1), ("b", 2)):
        own = merged.log_s[merged.info["environment_id"] == name]
        assert np.array_equal(
            own, read_cases(loaded(rows_of(name, seed), tmp_path / name), "").log_s, equal_nan=True
        )
        assert (~np.isnan(own)).sum() == (20 if name == "a" else 15) * len(own)


def test_a_layer_does_not_decide_for_its_other_settings(tmp_path: Path) -> None:
    """A single layer in two dtypes has no other problem."""
    of_one = [row for row in rows_of("a", 1) if row.in_channels == 16]
    rows = [*of_one, *(replace(row, dtype="bfloat16") for row in of_one)]
    both = loaded(rows, tmp_path / "run")
    assert not np.isnan(read_cases(both, "torch_conv").log_s).any()


def test_summary_and_run_leave_out_the_same_passes(tmp_path: Path) -> None:
    measurements = loaded([*rows_of("a", 1), *rows_of("b", 2)], tmp_path / "run")
    summary = summarize(measurements)
    run = read_run(measurements, summary)
    assert sorted(run.pass_times.notna().sum(axis=1)) == sorted(summary["passes"])


def test_probes_do_not_decide(tmp_path: Path) -> None:
    rows = rows_of("a", 1)
    probes = [replace(row, role=ROOFLINE, layer="probe", backend="probe") for row in rows[:60:2]]
    both = read_cases(loaded([*probes, *rows], tmp_path / "both"), "")
    is_case = (both.info["role"] != ROOFLINE).to_numpy()
    alone = read_cases(loaded(rows, tmp_path / "alone"), "")
    assert np.array_equal(both.log_s[is_case], alone.log_s, equal_nan=True)
