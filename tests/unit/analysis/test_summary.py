"""Summary of a run: times, speedups, verdicts and costs of each case."""

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.analysis.estimates import Estimate, estimate
from convsweep.analysis.summary import SUMMARY_COLUMNS, summarize
from convsweep.analysis.verdicts import verdicts
from tests.support.intervals import geometric_interval
from tests.support.summary_rows import PROBLEM, SPEEDUPS, TIMES, row, rows

DESIGNED = """environment_id, problem, batch_size, in_channels, out_channels, input_size,
    kernel_size,
    stride, padding, dilation, groups, bias, weight_kind, workload, layer, layer_count, role,
    backend, backend_version, device, device_name, dtype, memory_format, threads, cache,
    driver, direction, block, padding_end, output_padding,
    status, reason, passes, time_s, ci_low_s, ci_high_s, flops_per_s,
    roofline_fraction, baseline, speedup, speedup_ci_low, speedup_ci_high, verdict,
    attainable_flops_per_s, bound, backend_macs, backend_bytes, relative_err, error_ratio,
    prepare_s, first_call_s, backend_family, peak_memory_bytes, first_call_max_s,
    setting_speedup, setting_speedup_ci_low, setting_speedup_ci_high, setting_verdict,
    implementation, reorders, kernel_s, reorder_s,
    cycles_per_call, instructions_per_call, cache_misses_per_call, energy_j_per_call,
    sqnr_db"""


seconds = st.floats(1e-7, 1e3)


def test_the_columns_are_those_that_other_programs_know() -> None:
    assert tuple("".join(DESIGNED.split()).split(",")) == SUMMARY_COLUMNS


@settings(max_examples=10)
@given(medians=st.lists(st.tuples(seconds, seconds), min_size=2, max_size=5))
def test_a_speedup_is_the_geometric_mean_of_the_passes_ratios(
    summary, medians: list[tuple[float, float]]
) -> None:
    baseline, own = zip(*medians, strict=True)
    found = summary(rows("torch_conv", baseline) + rows("loop", own)).loc["loop"]
    ratios = geometric_interval(np.array(baseline) / np.array(own))
    assert tuple(found[SPEEDUPS]) == pytest.approx(tuple(ratios))
    logs = np.log(baseline) - np.log(own)
    assert found["verdict"] == verdicts(Estimate(*map(np.atleast_1d, estimate(logs))))[0]
    assert tuple(found[TIMES[:3]]) == pytest.approx(tuple(geometric_interval(np.array(own))))
    assert found["flops_per_s"] == pytest.approx(PROBLEM.flops / found["time_s"])
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


def test_without_a_baseline_there_are_times_and_no_speedups(summary) -> None:
    found = summary(rows("loop", [1.0, 1.0]) + rows("im2col", [2.0, 2.0]))
    assert found[TIMES].notna().all(axis=None)
    assert found[[*SPEEDUPS, "verdict"]].isna().all(axis=None)


def test_one_pass_has_values_and_no_intervals(summary) -> None:
    found = summary(rows("torch_conv", [1.0]) + rows("loop", [4.0])).loc["loop"]
    assert (found["time_s"], found["speedup"], found["passes"]) == (4.0, 0.25, 1)
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
    assert sorted(both.loc["torch_conv", "time_s"]) == pytest.approx([1.0, 8.0])


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
