import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from convsweep.analysis.estimates import (
    CONFIDENCE,
    Estimate,
    bounds,
    difference,
    estimate,
    interval,
    weighted_mean,
)
from convsweep.analysis.estimates import degrees as degrees_of
from convsweep.analysis.summary import SUMMARY_COLUMNS, summarize
from convsweep.analysis.verdicts import MARGIN, decided_early, passes_needed, verdicts
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.results.schema import MEASUREMENTS_TABLE, STATUSES, Row
from convsweep.results.store import load
from tests.support.intervals import geometric_interval

DESIGNED = """environment_id, problem, batch_size, in_channels, out_channels, input_size,
    kernel_size,
    stride, padding, dilation, groups, bias, weight_kind, workload, layer, layer_count, role,
    backend, backend_version, device, device_name, dtype, memory_format, threads, cache,
    driver, status, reason, passes, median_s, ci_low_s, ci_high_s, flops_per_s,
    roofline_fraction, baseline, speedup, speedup_ci_low, speedup_ci_high, verdict,
    attainable_flops_per_s, bound, backend_macs, backend_bytes, relative_err, error_ratio,
    prepare_s, first_call_s, backend_family, peak_memory_bytes, first_call_max_s"""
TIMES = ["median_s", "ci_low_s", "ci_high_s", "flops_per_s"]
SPEEDUPS = ["speedup", "speedup_ci_low", "speedup_ci_high"]

PROBLEM = ConvProblem(4, 8, (9, 9), 3, padding=1)

seconds = st.floats(1e-7, 1e3)


def row(backend: str, pass_index: int, median_s: float | None, **changed: object) -> Row:
    made = Row(
        run_id="made-up",
        pass_index=pass_index,
        started_at="2026-11-22T10:00:00.000+00:00",
        environment_id="e0",
        problem=PROBLEM.label,
        batch_size=PROBLEM.batch_size,
        in_channels=PROBLEM.in_channels,
        out_channels=PROBLEM.out_channels,
        input_size=format_size(PROBLEM.input_size),
        kernel_size=format_size(PROBLEM.kernel_size),
        stride=format_size(PROBLEM.stride),
        padding=format_size(PROBLEM.padding),
        dilation=format_size(PROBLEM.dilation),
        groups=PROBLEM.groups,
        bias=PROBLEM.bias,
        weight_kind="separable",
        backend=backend,
        device="cpu",
        dtype="float32",
        memory_format="contiguous",
        threads=1,
        status="ok" if median_s is not None else "error",
        median_s=median_s,
        macs=PROBLEM.macs,
        backend_macs=PROBLEM.macs,
        min_bytes=PROBLEM.min_bytes(),
    )
    return replace(made, **changed)


def rows(backend: str, medians_s: Iterable[float | None], **changed: object) -> list[Row]:
    """One row a pass."""
    return [row(backend, index, median_s, **changed) for index, median_s in enumerate(medians_s)]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory):
    """The measurements of a run that consists of these rows."""

    def measure(made: Iterable[Row]) -> pd.DataFrame:
        run_dir: Path = tmp_path_factory.mktemp("run")
        measurements = MEASUREMENTS_TABLE.open(run_dir)
        for one in made:
            measurements.append(one)
        measurements.close()
        return load(run_dir)

    return measure


@pytest.fixture(scope="module")
def summary(measure):
    """The summary of a run that consists of these rows, by backend."""

    def summary(made: Iterable[Row], **how: object) -> pd.DataFrame:
        return summarize(measure(made), **how).set_index("backend", drop=False)

    return summary


def test_the_columns_are_those_that_other_programs_know() -> None:
    assert tuple("".join(DESIGNED.split()).split(",")) == SUMMARY_COLUMNS


@given(st.lists(seconds, min_size=2, max_size=12))
def test_the_interval_is_that_of_the_trimmed_mean_of_the_logarithms(values: list[float]) -> None:
    logs, passes = np.log(values), len(values)
    outside = (passes - 1) // 4  # at either end
    kept, share = passes - 2 * outside, outside / passes + 1e-9
    spread = np.asarray(stats.mstats.winsorize(logs, (share, share))).std(ddof=1)
    error = spread * math.sqrt((passes - 1) / (kept * (kept - 1)))
    middle = stats.trim_mean(logs, share)
    low, high = stats.t.interval(CONFIDENCE, kept - 1, loc=middle, scale=max(error, 1e-300))
    found = geometric_interval(np.array(values))
    assert found == pytest.approx(tuple(np.exp([middle, low, high])))


@given(st.lists(seconds, min_size=5, max_size=12), st.floats(1.5, 100))
def test_one_disturbed_pass_hardly_matters(values: list[float], slower: float) -> None:
    found, disturbed = sorted(values), sorted(values)
    disturbed[-1] *= slower
    assert geometric_interval(np.array(disturbed)) == pytest.approx(
        geometric_interval(np.array(found))
    )


@given(st.lists(seconds, min_size=2, max_size=8))
def test_swapping_who_is_divided_by_whom_turns_the_interval_over(values: list[float]) -> None:
    there, back = geometric_interval(np.array(values)), geometric_interval(1 / np.array(values))
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx(there)


@given(seconds)
def test_one_value_gives_no_interval(value: float) -> None:
    found = geometric_interval(np.array([value]))
    assert found.value == pytest.approx(value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_no_value_gives_nothing_at_all() -> None:
    assert all(math.isnan(part) for part in geometric_interval(np.array([])))


@pytest.mark.parametrize("passes", [2, 5, 10])
def test_nineteen_of_twenty_intervals_hold_the_truth(passes: int) -> None:
    generator = np.random.default_rng(passes)
    runs = 2e-3 * np.exp(generator.normal(0, 0.03, size=(4000, passes)))
    _, low, high = bounds(estimate(np.log(runs)))
    held = np.mean((low <= 2e-3) & (high >= 2e-3))
    assert 0.93 < held < 0.97


NAN = math.nan
EDGE = math.log1p(MARGIN)
OPPOSITE = {"faster": "slower", "slower": "faster"}

errors = st.floats(1e-6, 1)
degrees = st.floats(1, 30)


def one(mean: float, standard_error: float, degrees: float) -> Estimate:
    """The estimate of a run with one comparison."""
    return Estimate(*(np.array([part]) for part in (mean, standard_error, degrees)))


def many(estimates: Iterable[Estimate]) -> Estimate:
    return Estimate(*map(np.concatenate, zip(*estimates, strict=True)))


@given(st.floats(-0.2, 0.2), errors, degrees)
def test_a_single_verdict_is_what_its_interval_says(mean: float, error: float, df: float) -> None:
    low, high = np.log(bounds(one(mean, error, df))[1:, 0])
    assume(min(abs(abs(end) - EDGE) for end in (low, high)) > 1e-9)
    says = {"faster": low > EDGE, "slower": high < -EDGE, "same": low > -EDGE and high < EDGE}
    expected = next((claim for claim, true in says.items() if true), "undecided")
    assert list(verdicts(one(mean, error, df))) == [expected]


@given(st.lists(st.tuples(st.floats(-0.2, 0.2), errors, degrees), max_size=8), st.floats(1e-3, 0.5))
def test_being_faster_one_way_is_being_slower_the_other(
    found: list[tuple[float, float, float]], margin: float
) -> None:
    mean, error, df = np.array(found).reshape(-1, 3).T
    there = verdicts(Estimate(mean, error, df), margin)
    back = verdicts(Estimate(-mean, error, df), margin)
    assert [OPPOSITE.get(said, said) for said in there] == list(back)


@given(st.lists(st.tuples(st.floats(-0.1, 0.1), errors, degrees), min_size=1, max_size=10))
def test_a_verdict_among_many_is_never_bolder_than_alone(
    found: list[tuple[float, float, float]],
) -> None:
    together = verdicts(many(one(*each) for each in found))
    alone = [str(verdicts(one(*each))[0]) for each in found]
    assert all(said in (each, "undecided") for said, each in zip(together, alone, strict=True))


def test_what_is_claimed_alone_may_be_chance_among_a_hundred() -> None:
    borderline, chance = one(0.06, 0.012, 7), one(0.0, 0.05, 7)
    assert list(verdicts(borderline)) == ["faster"]
    assert list(verdicts(many([borderline, *[chance] * 99]))) == ["undecided"] * 100


def test_clear_cases_do_not_dim_a_borderline_one() -> None:
    borderline, clear = one(0.06, 0.012, 7), one(0.7, 0.01, 7)
    assert list(verdicts(many([borderline, *[clear] * 99]))) == ["faster"] * 100


@pytest.mark.parametrize(
    ("mean", "says"),
    [(0.1, "faster"), (-0.1, "slower"), (0.0, "same"), (0.019, "same"), (EDGE, "undecided")],
)
def test_passes_that_agree_to_the_last_digit_are_no_division_by_zero(
    mean: float, says: str
) -> None:
    assert list(verdicts(one(mean, 0.0, 4))) == [says]


def test_without_an_interval_nothing_is_decided() -> None:
    assert list(verdicts(many([one(2.0, NAN, 0), one(0.0, NAN, 0)]))) == ["undecided"] * 2
    assert list(verdicts(Estimate(*[np.array([])] * 3))) == []


def test_a_wider_margin_makes_the_same_of_what_was_faster() -> None:
    found = one(0.05, 0.002, 9)
    said = {margin: str(verdicts(found, margin)[0]) for margin in (0.02, 0.05, 0.1)}
    assert said == {0.02: "faster", 0.05: "undecided", 0.1: "same"}


@given(st.lists(seconds, min_size=2, max_size=8), st.lists(seconds, min_size=2, max_size=8))
def test_runs_that_share_no_pass_are_compared_by_welch(old: list[float], new: list[float]) -> None:
    logs = np.log(old), np.log(new)
    assume(all(estimate(each).standard_error > 1e-6 for each in logs))
    # Yuen 1974; a fifth of up to eight values is as many as we leave out.
    expected = stats.ttest_ind(*logs, equal_var=False, trim=0.2)
    found = difference(*map(estimate, logs))
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.degrees == pytest.approx(expected.df)


@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 99))
def test_a_mean_over_cases_that_have_all_passes_is_students(
    cases: int, passes: int, seed: int
) -> None:
    logs = np.random.default_rng(seed).normal(0, 0.1, size=(cases, passes))
    found = weighted_mean(logs, np.full(cases, 1 / cases))
    assert interval(found) == pytest.approx(geometric_interval(np.exp(logs.mean(axis=0))))


@given(st.lists(seconds, min_size=2, max_size=12))
def test_a_mean_over_one_case_is_the_case(values: list[float]) -> None:
    logs = np.log([values])
    assume(np.ptp(logs) > 1e-9)
    assert interval(weighted_mean(logs, np.ones(1))) == pytest.approx(
        geometric_interval(np.array(values))
    )


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0], ids=lambda part: f"{part} shared")
def test_a_mean_over_cases_that_stopped_early_and_late_holds_the_truth(shared: float) -> None:
    """Twelve cases of four passes and eight of twelve; errors are the case's own, or the pass'."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        own, common = generator.normal(size=(20, 12)), generator.normal(size=12)
        logs = 0.03 * (math.sqrt(1 - shared) * own + math.sqrt(shared) * common)
        logs[:12, 4:] = np.nan
        found = interval(weighted_mean(logs, np.full(20, 1 / 20)))
        held += found.low <= 1 <= found.high
    assert 0.92 < held / 600 < 0.99


def test_a_case_with_one_pass_leaves_the_mean_without_an_interval() -> None:
    found = interval(weighted_mean(np.log([[2.0, 2.0], [2.0, NAN]]), np.array([0.5, 0.5])))
    assert found.value == pytest.approx(2.0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_clear_case_is_settled_at_the_first_look_and_a_shaky_one_never() -> None:
    clear, environment_warnings = np.log([2.0, 2.01, 1.99]), np.log([1.0, 1.3, 0.8])
    assert decided_early({"a": clear, "b": environment_warnings}, MARGIN, looks=1) == {"a"}
    assert decided_early({}, MARGIN, looks=1) == set()
    assert decided_early({"a": clear[:1]}, MARGIN, looks=1) == set()


def test_the_more_looks_the_more_a_claim_needs() -> None:
    ratios = {"a": np.array([0.055, 0.05, 0.045, 0.05])}
    assert [bool(decided_early(ratios, MARGIN, looks)) for looks in (1, 2, 20)] == [
        True,
        True,
        False,
    ]


def test_a_case_left_alone_stays_settled_however_often_one_looks() -> None:
    early, open_ = np.array([0.70, 0.72, 0.69]), np.random.default_rng(0).normal(0, 0.1, 40)
    for look in range(1, 39):
        log_ratios = {"early": early, "open": open_[: look + 2]}
        assert "early" in decided_early(log_ratios, MARGIN, look)


def follow(log_ratios: np.ndarray, most: int) -> tuple[dict[int, np.ndarray], set[int]]:
    """What a scheduler does: a look after each pass from the third, settled cases left alone."""
    seen = {case: log_ratios[case, :2] for case in range(len(log_ratios))}
    done: set[int] = set()
    for passes in range(3, most + 1):
        seen |= {case: log_ratios[case, :passes] for case in seen.keys() - done}
        done |= decided_early(seen, MARGIN, passes - 2)
    return seen, done


def said_of(seen: dict[int, np.ndarray]) -> np.ndarray:
    return verdicts(many([one(*estimate(seen[case])) for case in sorted(seen)]))


def test_what_was_settled_is_in_the_verdicts_of_the_whole_run() -> None:
    generator = np.random.default_rng(3)
    for _ in range(5):
        truth = generator.choice([0.0, 0.03, 0.05, 0.7], size=(40, 1))
        seen, done = follow(truth + generator.normal(0, 0.02, (40, 12)), 12)
        assert done
        assert "undecided" not in said_of(seen)[sorted(done)]


def test_looking_after_every_pass_makes_no_false_verdicts() -> None:
    """A backend against itself, 1,000 comparisons: at most 1 % are faster or slower."""
    generator = np.random.default_rng(11)
    wrong = 0
    for _ in range(5):
        deviation = generator.uniform(0.01, 0.06, size=(200, 1))
        seen, _ = follow(generator.normal(0, deviation, (200, 20)), 20)
        wrong += int(np.isin(said_of(seen), ["faster", "slower"]).sum())
    assert wrong / 1000 <= 0.01


@pytest.mark.parametrize("mean", [0.05, -0.05, 0.3, 0.0, 0.01])
@pytest.mark.parametrize("deviation", [0.003, 0.02, 0.1])
def test_so_many_passes_are_the_fewest_that_clear_the_margin(mean: float, deviation: float) -> None:
    ratios = np.random.default_rng(5).normal(size=6)
    ratios = mean + deviation * (ratios - ratios.mean()) / ratios.std(ddof=1)
    needed = passes_needed(ratios, MARGIN)
    assert needed is not None
    now = estimate(ratios)

    def decided(passes: int) -> bool:
        error = float(now.standard_error) * math.sqrt(len(ratios) / passes)
        return verdicts(one(float(now.mean), error, degrees_of(passes)))[0] != "undecided"

    assert decided(needed)
    assert needed == 2 or not decided(needed - 1)


def test_nobody_knows_how_many_passes_an_estimate_on_the_margin_needs() -> None:
    assert passes_needed(np.array([EDGE - 0.01, EDGE + 0.01]), MARGIN) is None
    assert passes_needed(np.array([0.3]), MARGIN) is None
    assert passes_needed(np.array([]), MARGIN) is None
    assert passes_needed(np.array([0.3, 0.3]), MARGIN) == 2


@settings(deadline=None, max_examples=10)
@given(medians=st.lists(st.tuples(seconds, seconds), min_size=2, max_size=5))
def test_a_speedup_is_the_geometric_mean_of_the_passes_ratios(
    summary, medians: list[tuple[float, float]]
) -> None:
    baseline, own = zip(*medians, strict=True)
    found = summary(rows("torch_conv", baseline) + rows("loop", own)).loc["loop"]
    ratios = geometric_interval(np.array(baseline) / np.array(own))
    assert tuple(found[SPEEDUPS]) == pytest.approx(tuple(ratios))
    logs = np.log(baseline) - np.log(own)
    assert found["verdict"] == verdicts(one(*estimate(logs)))[0]
    assert tuple(found[TIMES[:3]]) == pytest.approx(tuple(geometric_interval(np.array(own))))
    assert found["flops_per_s"] == pytest.approx(PROBLEM.flops / found["median_s"])
    assert found["passes"] == len(medians)


def test_a_machine_that_drifts_from_pass_to_pass_leaves_the_speedup_sharp(summary) -> None:
    drifting = [1e-3, 2e-3, 4e-3, 8e-3]
    made = rows("torch_conv", drifting) + rows("loop", [2 * s for s in drifting])
    random.Random(0).shuffle(made)
    found = summary(made).loc["loop"]
    assert tuple(found[SPEEDUPS]) == pytest.approx((0.5, 0.5, 0.5))
    assert found["verdict"] == "slower"
    assert found["ci_high_s"] > 2 * found["ci_low_s"]


def test_passes_that_one_of_the_two_has_missed_do_not_count(summary) -> None:
    made = rows("torch_conv", [1.0, 1.0, 9.0]) + rows("loop", [0.5, 0.5])
    found = summary(made)
    assert tuple(found.loc["loop", SPEEDUPS]) == pytest.approx((2.0, 2.0, 2.0))
    assert tuple(found["passes"]) == (3, 2)


def test_the_baseline_is_one_and_has_no_interval_of_its_own(summary) -> None:
    found = summary(rows("torch_conv", [1.0, 1.1]) + rows("loop", [1.0, 1.1])).loc["torch_conv"]
    assert found["speedup"] == 1
    assert found["verdict"] == "baseline"
    assert found[["speedup_ci_low", "speedup_ci_high"]].isna().all()
    assert found[TIMES].notna().all()


@pytest.mark.parametrize("baseline", ["torch_conv", "loop"])
def test_every_row_names_the_baseline_that_it_is_divided_by(summary, baseline: str) -> None:
    made = rows("torch_conv", [1.0, 1.0]) + rows("loop", [2.0, 2.0]) + rows("im2col", [None, None])
    found = summary(made, baseline=baseline)
    assert set(found["baseline"]) == {baseline}
    assert found.loc[baseline, "verdict"] == "baseline"
    other, speedup = {"torch_conv": ("loop", 0.5), "loop": ("torch_conv", 2.0)}[baseline]
    assert found.loc[other, "speedup"] == pytest.approx(speedup)


def test_the_status_of_a_case_is_that_of_its_worst_pass(summary) -> None:
    pairs = list(itertools.product(STATUSES, repeat=2))
    made = [
        row("loop", index, 1.0 if status == "ok" else None, status=status, reason=f"why {status}",
            layer=str(pair))
        for pair in pairs
        for index, status in enumerate(pair)
    ]  # fmt: skip
    found = summary(made).set_index("layer")
    for pair in pairs:
        status = min(pair, key=STATUSES.index)
        case = found.loc[str(pair)]
        assert (case["status"], case["reason"]) == (status, f"why {status}")
        assert bool(case[TIMES].notna().all()) == (status == "ok")


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
@pytest.mark.parametrize("failed", ["loop", "torch_conv"])
def test_a_case_that_failed_in_one_pass_has_no_times(summary, status: str, failed: str) -> None:
    made = rows("torch_conv", [1.0, 1.0, 1.0]) + rows("loop", [2.0, 2.0, 2.0])
    made = [
        replace(one, status=status, median_s=None)
        if (one.backend, one.pass_index) == (failed, 1)
        else one
        for one in made
    ]
    found = summary(made)
    missing = found.loc[failed, [*TIMES, *SPEEDUPS, "verdict", "roofline_fraction"]]
    assert missing.isna().all()
    assert found.loc["loop", SPEEDUPS].isna().all()
    assert found.loc["loop", [*SPEEDUPS, "verdict"]].isna().all()
    assert set(found["baseline"]) == {"torch_conv"}


def test_what_is_missing_stays_missing_and_is_never_zero(summary) -> None:
    made = rows("torch_conv", [1.0, 1.0]) + rows("loop", [None, None])
    found = summary([replace(one, backend_macs=None) for one in made])
    assert found.loc["loop", [*TIMES, *SPEEDUPS, "verdict"]].isna().all()
    columns = ["workload", "layer", "backend_version", "device_name", "reason"]
    assert found[[*columns, "roofline_fraction", "backend_macs"]].isna().all(axis=None)


def test_without_a_baseline_there_are_times_and_no_speedups(summary) -> None:
    found = summary(rows("loop", [1.0, 1.0]) + rows("im2col", [2.0, 2.0]))
    assert found[TIMES].notna().all(axis=None)
    assert found[[*SPEEDUPS, "verdict"]].isna().all(axis=None)


def test_one_pass_has_values_and_no_intervals(summary) -> None:
    found = summary(rows("torch_conv", [1.0]) + rows("loop", [4.0])).loc["loop"]
    assert (found["median_s"], found["speedup"], found["passes"]) == (4.0, 0.25, 1)
    assert found[["ci_low_s", "ci_high_s", "speedup_ci_low", "speedup_ci_high"]].isna().all()
    assert found["verdict"] == "undecided"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"threads": 2},
        {"device": "cuda"},
        {"dtype": "float64"},
        {"memory_format": "channels_last"},
        {"weight_kind": "dense"},
        {"driver": "pytest-benchmark"},
        {"environment_id": "e1"},
        {"cache": "cold"},
        {"workload": "a-network"},
        {"layer": "conv1"},
        {"problem": "n2_ci4_co8_i9x9_k3x3_s1x1_p1x1_d1x1_g1_b0", "batch_size": 2},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_only_cases_of_one_group_are_divided_by_each_other(
    summary, elsewhere: dict[str, object]
) -> None:
    made = rows("torch_conv", [1.0, 1.0]) + rows("loop", [2.0, 2.0], **elsewhere)
    found = summary(made)
    assert found.loc["loop", [*SPEEDUPS, "verdict"]].isna().all()
    both = summary(made + rows("torch_conv", [8.0, 8.0], **elsewhere))
    assert both.loc["loop", "speedup"] == pytest.approx(4.0)
    assert sorted(both.loc["torch_conv", "median_s"]) == pytest.approx([1.0, 8.0])


@pytest.mark.parametrize("named", [{"backend_version": "9.1"}, {"device_name": "the same card"}])
def test_what_a_backend_says_of_itself_sets_no_group_apart(
    summary, named: dict[str, object]
) -> None:
    found = summary(rows("torch_conv", [1.0, 1.0]) + rows("loop", [2.0, 2.0], **named))
    assert found.loc["loop", "speedup"] == pytest.approx(0.5)


def test_a_case_has_one_row_in_the_order_of_the_measurements(summary) -> None:
    names = ["loop", "torch_conv", "im2col"]
    made = [row(name, index, 1.0) for index in range(3) for name in names]
    found = summary(made)
    assert list(found["backend"]) == names
    assert tuple(found.columns)[: len(SUMMARY_COLUMNS)] == SUMMARY_COLUMNS
    behind = ["macs", "min_bytes", "prepare_max_s", "sample_flags", "margin"]
    assert list(found.columns)[len(SUMMARY_COLUMNS) :] == behind


def test_the_flags_of_a_case_are_those_of_at_least_half_its_passes(summary) -> None:
    seen = [None, "drift", "bimodal|drift", "throttled"]
    made = [row("loop", index, 1.0, sample_flags=flags) for index, flags in enumerate(seen)]
    made += rows("torch_conv", [1.0] * 4) + rows("im2col", [1.0], sample_flags="drift")
    found = summary(made)
    assert dict(found["sample_flags"]) == {"loop": "drift", "torch_conv": "", "im2col": "drift"}


def test_the_margin_is_the_callers(summary) -> None:
    made = rows("torch_conv", [1.05, 1.051, 1.049]) + rows("loop", [1.0, 1.0, 1.0])
    assert summary(made).loc["loop", "verdict"] == "faster"
    assert summary(made, margin=0.1).loc["loop", "verdict"] == "same"


def test_verdicts_are_corrected_over_the_whole_run_and_intervals_are_not(measure) -> None:
    generator = np.random.default_rng(2)
    layers = [f"l{index}" for index in range(40)]
    made = [
        each
        for layer in layers
        for each in [
            *rows("torch_conv", [1.0] * 5, layer=layer),
            *rows("loop", np.exp(generator.normal(0, 0.1, 5)), layer=layer),
        ]
    ]
    measurements = measure(made)
    found = summarize(measurements)
    found = found[found["backend"] == "loop"]
    boldest = found.loc[found["speedup_ci_low"].idxmax()]
    alone = summarize(measurements[measurements["layer"] == boldest["layer"]])
    alone = alone[alone["backend"] == "loop"].iloc[0]
    assert list(boldest[SPEEDUPS]) == list(alone[SPEEDUPS])
    assert alone["verdict"] == "faster"
    assert set(found["verdict"]) == {"undecided"}


def test_no_rows_make_a_summary_of_no_rows(measure) -> None:
    found = summarize(measure([]))
    assert len(found) == 0
    assert tuple(found.columns)[: len(SUMMARY_COLUMNS)] == SUMMARY_COLUMNS


def test_measurements_are_left_as_they_were(measure) -> None:
    measurements = measure(rows("torch_conv", [1.0, 2.0]) + rows("loop", [2.0, None]))
    before = measurements.copy(deep=True)
    summarize(measurements)
    pd.testing.assert_frame_equal(measurements, before)


def test_costs_are_the_worst_error_and_memory_and_the_middle_time_of_the_passes(summary) -> None:
    values_of = [
        (1e-7, 1.0, 2e-3, 5.0, 100),
        (3e-7, 4.0, 1e-3, 0.2, 300),
        (2e-7, 2.0, 4e-3, 0.1, 200),
    ]
    names = ["relative_err", "error_ratio", "prepare_s", "first_call_s", "peak_memory_bytes"]
    made = [
        row(
            "winograd", i, 1.0, backend_family="algorithms", **dict(zip(names, values, strict=True))
        )
        for i, values in enumerate(values_of)
    ]
    found = summary([*made, row("torch_conv", 0, 1.0)]).set_index("backend")
    own = found.loc["winograd", [*names, "first_call_max_s", "backend_family"]].tolist()
    assert own == [3e-7, 4.0, 2e-3, 0.2, 300, 5.0, "algorithms"]
    assert found.loc["torch_conv", [*names, "first_call_max_s"]].isna().all()
