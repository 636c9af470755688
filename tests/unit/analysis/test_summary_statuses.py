"""Statuses, flags and costs of cases in a summary, from those of their passes."""

import itertools
from dataclasses import replace

import pytest

from convsweep.results.schema import STATUSES
from tests.support.summary_rows import SPEEDUPS, TIMES, row, rows


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


@pytest.mark.parametrize("flag", ["no implementation: a call takes long", "trace disturbed"])
def test_a_trace_is_flagged_by_the_first_pass_alone(summary, flag: str) -> None:
    seen = [f"drift|{flag}", "", "", ""]
    made = [row("loop", index, 1.0, sample_flags=flags) for index, flags in enumerate(seen)]
    found = summary(made)
    assert [*found["sample_flags"]] == [flag]


def test_the_flags_of_a_case_are_those_of_at_least_half_its_passes(summary) -> None:
    seen = [None, "drift", "bimodal|drift", "throttled"]
    made = [row("loop", index, 1.0, sample_flags=flags) for index, flags in enumerate(seen)]
    made += rows("torch_conv", [1.0] * 4) + rows("im2col", [1.0], sample_flags="drift")
    found = summary(made)
    assert dict(found["sample_flags"]) == {"loop": "drift", "torch_conv": "", "im2col": "drift"}


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
