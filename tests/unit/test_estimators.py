"""Estimators on recorded samples, and A/A runs with effects: laws, on committed runs."""

from pathlib import Path

import numpy as np
import pytest

from bench.harness import effects, recorded
from bench.harness.estimators import ESTIMATORS, OURS
from convsweep.analysis.aa_noise import measure_noise
from convsweep.analysis.summary import SPEEDUP, summarize
from convsweep.measure.sampling import pass_time
from convsweep.results import store
from convsweep.results.schema import CASE
from tests.support.samples import load_samples

RESULTS = Path(__file__).parents[2] / "results"
NOISE, REFERENCE = RESULTS / "noise", RESULTS / "reference"
TIMES = np.random.default_rng(0).normal(size=(8, 4, 3))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_constant_ratio_is_found_exactly(name: str) -> None:
    """Also where the backend has fewer blocks than the baseline."""
    steps, constant = np.log([[1.0, 2.0, 3.0]] * 4) + np.zeros((8, 1, 1)), np.zeros((8, 4, 3))
    fewer = constant.copy()
    fewer[:, 2:] = np.nan
    estimator = ESTIMATORS[name]
    for baseline, backend in ((steps, steps), (constant, fewer)):
        found = estimator.over_passes(estimator.of_pass(baseline, backend - np.log(4)))
        assert [*found] == pytest.approx([np.log(4)] * 3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_exchanged_layers_have_the_inverse_speedup(name: str) -> None:
    estimator, backend = ESTIMATORS[name], 0.1 * TIMES[::-1]
    one = estimator.over_passes(estimator.of_pass(TIMES, backend))
    other = estimator.over_passes(estimator.of_pass(backend, TIMES))
    assert one.centre == pytest.approx(-other.centre)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_a_burst_is_left_out_together_with_the_other_block_of_its_round() -> None:
    calm = np.tile(np.log([1.0, 1.01, 1.02]), (8, 4, 1))
    disturbed = calm.copy()
    disturbed[:, 1] += np.log(1.4)
    of_pass = ESTIMATORS["without bursts, trimmed mean"].of_pass
    assert of_pass(disturbed, calm) == pytest.approx(np.zeros(8))
    assert ESTIMATORS[OURS].of_pass(disturbed, calm) == pytest.approx(np.zeros(8))
    assert (ESTIMATORS["median, trimmed mean"].of_pass(disturbed, calm) > 0).all()


def test_the_first_estimator_is_that_of_the_summary() -> None:
    """Where no pass is left out."""
    rows = store.load(REFERENCE)
    for number, samples in load_samples(REFERENCE).groupby("row"):
        blocks = [block.to_list() for _, block in samples.groupby("block")["seconds"]]
        rows.loc[number, "time_s"] = pass_time(blocks)
    summary = summarize(rows)
    compared = summary[(summary["role"] == CASE) & summary["speedup_ci_low"].notna()]
    ok = set(zip(compared["problem"], compared["backend"], strict=True))
    every = recorded.read_runs([REFERENCE, REFERENCE, REFERENCE])
    found = {
        (case, name): runs for (case, name), runs in every.items() if (case.split()[0], name) in ok
    }
    centre = recorded.answers(ESTIMATORS[OURS], found)
    ours = np.exp([one[:, 0] for one in centre])
    for place, column in enumerate(SPEEDUP):
        assert sorted(ours[place]) == pytest.approx(sorted(compared[column]))
    assert not recorded.changes(centre.centre).any()
    table = recorded.estimator_table(found)
    assert [row[0] for row in table.rows] == [*ESTIMATORS]


def test_the_part_of_a_run_that_its_passes_cannot_show_is_found() -> None:
    generator = np.random.default_rng(1)
    comparisons = {}
    for case in range(60):
        runs = []
        for _ in range(6):
            backend = generator.normal(0.05 * generator.normal(), 0.02, size=(5, 1, 1))
            runs.append((np.zeros((5, 1, 1)), backend))
        comparisons["problem", str(case)] = runs
    found = recorded.drift(comparisons)
    assert found.beyond == pytest.approx(0.05, rel=0.2)
    assert found.coverage < 0.8 < 0.9 < found.coverage_beyond
    assert found.correlation == pytest.approx(0, abs=0.15)


def test_the_correlation_of_consecutive_passes_is_found_in_short_runs() -> None:
    generator = np.random.default_rng(2)
    for truth, least, most in ((0.0, -0.05, 0.05), (0.5, 0.3, 0.55)):
        logs = generator.normal(size=(4000, 12))
        for index in range(1, 12):
            logs[:, index] *= np.sqrt(1 - truth**2)
            logs[:, index] += truth * logs[:, index - 1]
        assert least < recorded.correlation([*logs]) < most


def test_effects_agree_with_the_noise_of_the_same_run() -> None:
    measurements = store.load(NOISE)
    noise, found = measure_noise(measurements), effects.compared(measurements)
    usual = found[found["margin"] == effects.MARGINS[0]].set_index("effect")
    equals, extra = usual.loc["none"], usual.loc["5 %, extra calls"]
    assert len(equals) == noise.comparisons
    assert equals["verdict"].isin(["faster", "slower"]).sum() == noise.false_alarms
    assert (extra["verdict"] == "slower").sum() == noise.found
    shifted = usual.loc["5 %, computed"]
    assert shifted["speedup"].to_list() == pytest.approx((equals["speedup"] / 1.05).to_list())
    unslowed = measurements[~measurements["backend"].str.endswith("%")]
    without = effects.compared(unslowed)
    assert (
        without["speedup"].to_list()
        == found[found["effect"] != extra.index[0]]["speedup"].to_list()
    )
    assert len(effects.rates(found).rows) == len(effects.EFFECTS) * len(effects.MARGINS)


def test_a_block_that_is_a_single_long_call_takes_as_long_as_its_short_calls() -> None:
    logs = np.random.default_rng(3).exponential(0.1, size=(2, 8, 6, 20))
    runs = {("problem", "backend"): [(logs[0], logs[1])]}
    assert recorded.of_long_calls(ESTIMATORS[OURS], runs) == pytest.approx(0)
    assert recorded.of_long_calls(ESTIMATORS["5 % quantile, trimmed mean"], runs) > 0.02
