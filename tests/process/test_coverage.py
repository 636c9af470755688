"""Intervals and verdicts over simulated passes, with the bounds that docs/statistics.md claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.harness import coverage, verdict_errors
from bench.harness.interval_methods import (
    METHODS,
    RUN_OF,
    mean_of,
    moderate,
    sign_test,
    signed_rank,
)
from bench.harness.simulated_drift import DRIFTS, drifts
from bench.harness.simulated_passes import BURSTS, SAMPLES, SCENARIOS, Scenario, draw, draw_blocks
from convsweep.report.tables import markdown

OURS = {coverage.OURS: METHODS[coverage.OURS]}
WANDERING = {"drift", "rough"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nineteen_of_twenty_intervals_are_true(scenario: Scenario) -> None:
    """But for plain times on a machine that wanders: no run knows how far it has come."""
    rows = [row for passes in (5, 10) for row in coverage.intervals(scenario, passes, OURS)]
    for row in rows:
        known = row["subject"] == "speedup" or scenario.name not in WANDERING
        assert (0.93 <= row["coverage"] <= 0.97) == known, row


@pytest.mark.parametrize("deviation", verdict_errors.DEVIATIONS)
@pytest.mark.parametrize("effects", verdict_errors.TRUE_SPEEDUPS)
def test_verdicts_are_hardly_ever_false_and_find_five_percent(effects: str, deviation: str) -> None:
    """On 4,000 comparisons; the effect where passes differ by 1 to 2 %, from eight passes on."""
    for passes in (5, 8, 12):
        rows = verdict_errors.corrections(effects, deviation, passes, runs=20)
        how = ("Benjamini-Hochberg", coverage.OURS)
        row = next(
            row for row in rows if (row["method"], row["estimator"]) == how
        )  # the first ones
        assert not row["false_alarms"] > 0.01
        assert row["wrong"] <= 0.01
        if deviation == "1-2 %" and passes >= 8:
            assert not row["found"] < 0.9


@pytest.mark.parametrize("scenario", DRIFTS)
def test_intervals_with_the_drift_of_each_comparison_are_true(scenario: str) -> None:
    rows = [row for row in drifts(scenario, 8, trials=200) if row["scenario"] == scenario]
    within, _, of_each = (row["coverage"] for row in rows)
    assert within < 0.8 or scenario == "none"
    assert 0.93 <= of_each <= 0.99


@pytest.mark.parametrize("effects", ["all the same", "half twice as fast"])
def test_looking_after_every_pass_raises_no_false_alarms(effects: str) -> None:
    row = verdict_errors.looks(effects, "1-6 %", "stopped by verdict", runs=5)
    assert row["false_alarms"] <= 0.01
    assert row["used"] < verdict_errors.LAST_LOOK


def test_made_up_passes_are_as_their_scenario_says() -> None:
    calm = Scenario(name="", description="", pass_deviation=(0.03, 0.03), sample_deviation=0.0)
    simulated = draw(calm, np.random.default_rng(0), runs=2000, passes=10)
    assert simulated.log_time.std() == pytest.approx(0.03, rel=0.05)
    assert simulated.log_speedup.std() == pytest.approx(0.03 * np.sqrt(2), rel=0.05)
    assert simulated.speedup_deviation == pytest.approx(0.03 * np.sqrt(2))
    slow = Scenario(
        name="", description="", pass_deviation=(0, 0), sample_deviation=0.0, slow_passes=0.1
    )
    times = draw(slow, np.random.default_rng(0), runs=2000, passes=10).log_time
    assert (times > 0).mean() == pytest.approx(0.1, rel=0.1)
    assert times.max() <= np.log(1.5)
    wandering = Scenario(
        name="", description="", pass_deviation=(0, 0), sample_deviation=0.0, drift_deviation=0.05
    )
    times = draw(wandering, np.random.default_rng(0), runs=2000, passes=10).log_time
    following = np.corrcoef(times[:, :-1].ravel(), times[:, 1:].ravel())[0, 1]
    assert following == pytest.approx(wandering.drift_correlation, abs=0.05)
    assert SAMPLES > 12


def test_bursts_slow_the_blocks_of_both_backends_in_a_row() -> None:
    bursts = replace(BURSTS, pass_deviation=(0, 0), sample_deviation=0.0, spiked_samples=0.0)
    slow = draw_blocks(bursts, np.random.default_rng(0), runs=2000, passes=5).max(axis=-1) > 0
    assert slow.mean() == pytest.approx(bursts.bursts, rel=0.05)
    baseline, backend = slow
    assert backend[baseline].mean() == pytest.approx(2 / 3, rel=0.05)


@pytest.mark.parametrize("passes", [6, 8, 10, 20])
def test_the_sign_tests_interval_is_scipys(passes: int) -> None:
    values = np.random.default_rng(passes).normal(size=passes)
    expected = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    assert tuple(float(end) for end in sign_test(values)) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("passes", [3, 5, 6, 9, 12])
def test_the_signed_rank_interval_is_what_wilcoxons_test_does_not_reject(passes: int) -> None:
    values = np.random.default_rng(passes).normal(size=passes)
    low, high = (float(end) for end in signed_rank(values))
    if passes < 6:
        assert np.isnan(low)
        return
    for end, inside in ((low, 1e-9), (high, -1e-9)):
        assert stats.wilcoxon(values - end - inside, method="exact").pvalue > 0.05
        assert stats.wilcoxon(values - end + inside, method="exact").pvalue <= 0.05


def test_moderated_variances_are_drawn_together() -> None:
    logs = np.random.default_rng(0).normal(0, 0.02, size=(RUN_OF, 5))
    plain, shrunk = mean_of(logs), moderate(mean_of(logs))
    assert shrunk.standard_error.std() < 0.5 * plain.standard_error.std()
    assert (shrunk.degrees > plain.degrees).all()
    alone = mean_of(logs[:1])
    assert moderate(alone) is alone


def test_the_page_shows_what_was_simulated() -> None:
    root = Path(coverage.__file__).parents[2]
    found = pd.read_csv(root / "results" / "harness" / coverage.FILE)
    page = (root / "docs" / "statistics.md").read_text(encoding="utf-8")
    shown = [name for name, table in coverage.tables(found).items() if markdown(table) in page]
    assert shown == [*coverage.tables(found)]


def test_every_study_has_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SCENARIOS", [s for s in SCENARIOS if s.name == "shared"])
    monkeypatch.setattr(coverage, "PASSES", (5, 8))
    monkeypatch.setattr(coverage, "TRIALS", 200)
    monkeypatch.setattr(coverage, "TRUE_SPEEDUPS", ["half 5 % faster"])
    monkeypatch.setattr(coverage, "DEVIATIONS", ["1-2 %"])
    for name, few in (
        ("intervals", {"trials": 200}),
        ("estimators", {"trials": 200}),
        ("corrections", {"runs": 2}),
        ("drifts", {"trials": 20}),
    ):
        whole = getattr(coverage, name)
        monkeypatch.setattr(coverage, name, lambda *a, whole=whole, few=few: whole(*a, **few))
    monkeypatch.setattr(coverage, "looks", lambda *a: verdict_errors.looks(*a, runs=2))
    found = coverage.simulate()
    assert set(found["study"]) == {"intervals", "estimators", "drift", "verdicts", "looks"}
    pages = [markdown(table) for table in coverage.tables(found).values()]
    assert all(page.count("\n") >= 3 and "nan" not in page for page in pages)
