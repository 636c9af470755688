"""Accuracy study: intervals, verdicts, the section of the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convsweep.analysis.accuracy import Study, interval_over_splits, pareto_front, read_study
from convsweep.report.plots import accuracy_vs_time
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.sections import accuracy as report
from convsweep.results.accuracy import (
    ACCURACY_TABLE,
    EPOCHS,
    EQUAL_COST,
    SEPARABLE,
    STANDARD,
    VARIANTS,
    AccuracyRow,
)
from convsweep.results.store import RunFolder

TRAIN, TEST = 4000, 1000
EVEN = (0.90, 0.91, 0.89, 0.90, 0.92)


def unit(
    dataset: str,
    seed: int,
    accuracies: Mapping[str, float],
    seconds: Mapping[str, float] = dict.fromkeys(VARIANTS, 1e-3),
    **changes: object,
) -> list[AccuracyRow]:
    """Return the rows of one trial; a batch of 64 takes ten times as long as one sample."""
    macs = {STANDARD: 9000, SEPARABLE: 1500, EQUAL_COST: 9090}
    rows = [
        AccuracyRow(
            run_id="a-study", started_at="2026-11-23T10:00:00.000+00:00", environment_id="e0",
            dataset=dataset, variant=variant, seed=seed, device="cpu", dtype="float32", threads=1,
            status="ok", width=8, train_samples=TRAIN, test_samples=TEST,
            epochs=EPOCHS.get(dataset),
            accuracy=accuracies[variant], loss=0.5, parameters=100, macs=macs[variant],
            training_s=2.0, inference_s=seconds[variant] * (1 + seed / 1000), batch_size=64,
            batch_inference_s=10 * seconds[variant],
        )
        for variant in VARIANTS
    ]  # fmt: skip
    return [replace(row, **changes) for row in rows]  # type: ignore[arg-type]


def shifted(
    dataset: str, by: Mapping[str, Sequence[float]], standard: Sequence[float] = EVEN
) -> list[list[AccuracyRow]]:
    """Return one trial per seed; its variants differ from the standard accuracy by `by`."""
    return [
        unit(dataset, seed, {STANDARD: a, **{v: a + by[v][seed] for v in by}})
        for seed, a in enumerate(standard)
    ]


def study(run_dir: Path, units: Sequence[list[AccuracyRow]]) -> Study:
    records = ACCURACY_TABLE.open(run_dir)
    for rows in units:
        records.append(*rows)
    records.close()
    return read_study(ACCURACY_TABLE.load(run_dir))


NONE, NOISE = [0.0] * 5, [0.01, -0.012, 0.002, -0.006, 0.007]
LOSS = [-0.05, -0.051, -0.049, -0.05, -0.05]


def test_a_steady_loss_is_significant_and_noise_is_not(tmp_path: Path) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NOISE}))
    loses, open_ = found.comparisons
    assert (loses.variant, loses.decided, open_.decided) == (SEPARABLE, True, False)
    assert loses.difference.high < 0 < open_.difference.high
    assert [loses.finding, open_.finding] == ["lower", "same"]
    first, second = report.comparison_table(found).rows
    assert first[2].startswith("-5.0")
    assert [row[4] for row in (first, second)] == ["6.00", "0.990"]
    [sentence] = report.sentences(found)
    assert sentence.index("1 lower") < sentence.index("1 same")


WILD = [-0.4, 0.05, -0.3, 0.05, -0.4]


@pytest.mark.parametrize(("by", "seeds"), [(WILD, 5), (WILD, 2), (NOISE, 4), ([-0.34, -0.25], 2)])
def test_an_uncertain_difference_is_undecided(
    tmp_path: Path, by: Sequence[float], seeds: int
) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: by, EQUAL_COST: by}, EVEN[:seeds]))
    assert [one.finding for one in found.comparisons] == ["undecided"] * 2
    assert report.sentences(found)[0].count("1 undecided") == 2


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_stay_where_shares_and_their_differences_lie(tmp_path: Path, seeds: int) -> None:
    by = [-0.9, 0.05, -0.7, 0.0, -0.89]
    found = study(tmp_path, shifted("digits", {SEPARABLE: by, EQUAL_COST: by}, EVEN[:seeds]))
    for comparison in found.comparisons:
        assert -1 <= comparison.difference.low <= comparison.difference.high <= 1
    for quality in found.qualities:
        assert 0 <= quality.accuracy.low <= quality.accuracy.high <= 1
    assert found.comparisons[0].difference.low == -1


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}, EVEN[:1]))
    assert not any(comparison.decided for comparison in found.comparisons)
    assert np.isnan(found.comparisons[0].difference.low)
    assert report.comparison_table(found).rows[0][3] == "undecided"
    with drawing_style():
        picture = accuracy_vs_time.draw(found)
    assert picture is not None
    assert png(picture.figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(("seconds", "speedup"), [(2e-3, 0.5), (5e-4, 2.0), (1e-3, 1.0)])
def test_times_have_a_speedup(tmp_path: Path, seconds: float, speedup: float) -> None:
    times = {STANDARD: 1e-3, SEPARABLE: seconds, EQUAL_COST: 1e-3}
    even = dict.fromkeys(VARIANTS, 0.9)
    found = study(tmp_path, [unit("mnist", seed, even, times) for seed in range(5)])
    assert found.comparisons[0].single.value == pytest.approx(speedup)


def test_networks_that_were_not_trained_have_a_reason(tmp_path: Path) -> None:
    away = unit("away", 0, dict.fromkeys(VARIANTS, 0.9), status="skipped", reason="needs cats")
    study(tmp_path, [away])
    found = report.section(RunFolder(tmp_path))
    assert found is not None
    assert "away, 3 networks: skipped, needs cats" in found.note
    assert not found.tables
    assert not found.pictures


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_an_interval_over_splits_is_wider_than_students_and_around_the_mean(
    accuracies: list[float],
) -> None:
    rows = pd.DataFrame({"train_samples": TRAIN, "test_samples": TEST}, index=range(9))
    values = pd.Series(accuracies)
    value, low, high = interval_over_splits(values, rows.iloc[: len(values)])
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(accuracies)
    assert value == pytest.approx(np.mean(accuracies))
    assert high - value == pytest.approx(value - low)
    # Nadeau & Bengio: the variance of a mean of n grows from 1 / n to 1 / n + tested share.
    assert high - value >= half * np.sqrt(1 + len(values) * TEST / TRAIN) * (1 - 1e-9)


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    units = shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE})
    units[0] = [
        replace(row, status="crash", accuracy=None) if row.variant == SEPARABLE else row
        for row in units[0]
    ]
    separable, equal = study(tmp_path, units).comparisons
    assert (separable.seeds, equal.seeds) == (4, 5)


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(POINTS)
def test_no_other_point_beats_a_point_on_the_front(points: list[tuple[int, int]]) -> None:
    best = pareto_front(points)
    for place, (time, share) in enumerate(points):
        beaten = any(t <= time and a >= share and (t < time or a > share) for t, a in points)
        assert (place in best) != beaten
    times = [points[place][0] for place in best]
    assert times == sorted(times)


def environment(path: Path, **keys: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / "environment.json").write_text(json.dumps(keys))
    return path


REQUEST = {"datasets": {"digits": "00"}, "variants": list(VARIANTS), "seeds": 5}


@pytest.mark.parametrize(("trained", "short"), [(5, False), (4, True), (1, True)])
def test_the_rows_missing_from_a_study_are_counted(
    tmp_path: Path, trained: int, short: bool
) -> None:
    study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE})[:trained])
    found = report.section(RunFolder(environment(tmp_path, end_reason="done", request=REQUEST)))
    assert found is not None
    assert (f"{3 * trained} of 15 networks" in found.note) == short


@pytest.mark.parametrize("request_", [{}, {"datasets": {}}, {**REQUEST, "seeds": "many"}])
def test_a_partial_request_is_ignored(tmp_path: Path, request_: object) -> None:
    study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}))
    found = report.section(RunFolder(environment(tmp_path, request=request_)))
    assert found is not None
    assert "Incomplete" not in found.note
