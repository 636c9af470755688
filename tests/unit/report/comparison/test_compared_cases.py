"""Comparing two runs: what became slower is found, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from convsweep.report import comparison
from tests.support import synthetic_runs as made
from tests.support.compared_runs import (
    BACKENDS,
    PROBLEMS,
    SETTINGS,
    Write,
    broken,
    compare,
    measured,
    slowed,
    verdicts,
)


def test_what_would_be_found_is_found(write: Write) -> None:
    """One case that is slower by the detectable change, in ten runs."""
    old = write("old", measured(1))
    least = compare(old, write("same", measured(2))).cases["detectable"].median()
    found = [
        compare(old, write(f"n{seed}", measured(seed, seconds=slowed(1 + 2 * least, "im2col", 16))))
        for seed in range(10, 20)
    ]
    slower = [(verdicts(one, "im2col")[:2]).count("slower") for one in found]
    assert sum(slower) >= 16


def test_means_of_blocks_are_compared_with_medians_only_if_asked(write: Write) -> None:
    rows = [replace(row, time_s=row.median_s) for row in measured(2)]
    old, new = write("old", measured(1)), write("new", rows)
    with pytest.raises(ValueError, match="time of a pass: median_s against time_s"):
        compare(old, new)
    assert compare(old, new, across_machines=True).compared.any()
    assert compare(new, new).compared.any()


def test_a_new_case_that_fails_is_no_regression(write: Write, command) -> None:
    others = made.rows(made.grid((8,), (9,), (3,)), backends=BACKENDS)
    crashed = [replace(row, status="crash", median_s=None, reason="because") for row in others]
    write("old", measured(1))
    write("new", [*measured(2), *crashed])
    assert command("compare old new").code == 0


def test_the_same_twice_is_no_regression(write: Write) -> None:
    found = compare(write("old", measured(1)), write("new", measured(2)))
    assert found.baseline == "torch_conv"
    assert verdicts(found, "torch_conv") == ["baseline"] * 4
    assert {*verdicts(found, "im2col"), *verdicts(found, "separable")} <= {"same", "undecided"}
    assert not found.cases["regression"].any()
    assert comparison.headline(found).startswith("No regression: 0 slower")


def test_what_is_slower_is_named_though_the_whole_machine_drifted(write: Write) -> None:
    """Half as fast altogether, and im2col at 16 channels another 10 % slower."""

    def seconds(problem, name, device):
        return 2 * slowed(1.1, "im2col", 16)(problem, name, device)

    found = compare(write("old", measured(1)), write("new", measured(2, seconds=seconds)))
    slower = found.cases[found.cases["verdict"] == "slower"]
    assert set(zip(slower["backend"], slower["in_channels"], strict=True)) == {("im2col", 16)}
    assert list(slower["regression"]) == [True, True]
    assert slower["change"].to_numpy() == pytest.approx(1 / 1.1, rel=0.02)
    assert ((slower["change_ci_low"] < 1 / 1.1) & (slower["change_ci_high"] > 1 / 1.1)).all()
    means = found.means.set_index("backend")
    assert means.loc["im2col", "change"] == pytest.approx(1.1**-0.5, rel=0.01)
    assert means.loc["torch_conv", "change"] == pytest.approx(0.5, rel=0.01)  # its plain time
    assert "2 slower" in comparison.headline(found)


def test_plain_times_show_the_drift_too(write: Write) -> None:
    runs = write("old", measured(1)), write("new", measured(2, seconds=slowed(1.2)))
    found = compare(*runs, absolute=True)
    assert found.baseline is None
    assert set(found.cases["verdict"]) == {"slower"}


def test_a_change_of_plain_times_is_that_of_runs_that_share_no_pass(write: Write) -> None:
    old, new = measured(1, passes=5), measured(2, passes=8)
    found = compare(write("old", old), write("new", new), absolute=True)
    case = found.cases.iloc[0]
    logs = [
        np.log([r.median_s for r in rows if (r.problem, r.backend) == tuple(case[_KEY])])
        for rows in (old, new)
    ]
    middles = [stats.trim_mean(each, 0.2) for each in logs]
    expected = stats.ttest_ind(*logs, equal_var=False, trim=0.2)  # Yuen 1974
    middle = middles[0] - middles[1]
    half = stats.t.ppf(0.975, expected.df) * middle / expected.statistic
    assert case["change"] == pytest.approx(np.exp(middle))
    assert case["change_ci_low"] == pytest.approx(np.exp(middle - abs(half)))
    assert case["change_ci_high"] == pytest.approx(np.exp(middle + abs(half)))


_KEY = ["problem", "backend"]


def test_an_unpaired_pass_more_or_less_does_no_harm(write: Write) -> None:
    old = [r for r in measured(1) if r.backend != "im2col" or r.pass_index < 3]
    found = compare(write("old", old), write("new", measured(2)))
    assert set(verdicts(found, "im2col")) <= {"same", "undecided"}
    assert found.means["change_ci_low"].notna().all()


def test_one_pass_decides_nothing(write: Write) -> None:
    runs = write("old", measured(1, passes=1)), write("new", measured(2, seconds=slowed(9)))
    found = compare(*runs, absolute=True)
    assert set(found.cases["verdict"]) == {"undecided"}
    assert found.cases["change_ci_low"].isna().all()
    assert found.means["change_ci_low"].isna().all()


@pytest.mark.parametrize("status", ["mismatch", "crash", "error", "timeout", "out_of_memory"])
def test_what_was_ok_and_fails_now_is_a_regression(write: Write, status: str) -> None:
    found = compare(write("old", measured(1)), write("new", broken(status)))
    assert found.cases["regression"].sum() == 1
    assert "1 failed" in comparison.headline(found)
    named = f"{status}, ok before: separable on C64 28x28: because [bold]|"
    assert named in comparison.notes(found)


def test_cases_that_are_skipped_or_ok_now_are_counted(write: Write) -> None:
    old, new = write("old", measured(1)), write("new", broken("skipped"))
    there, back = compare(old, new), compare(new, old)
    assert not there.cases["regression"].any()
    for found in (there, back):
        assert any("1 case, such as separable on C64 28x28" in n for n in comparison.notes(found))


def test_cases_of_one_run_only_are_counted(write: Write) -> None:
    old = [row for row in measured(1) if row.input_size != "14x14"]
    new = [row for row in measured(2) if row.in_channels != 64]
    found = compare(write("old", old), write("new", new))
    assert found.cases["status_new"].isna().sum() == 3
    assert found.cases["status_old"].isna().sum() == 3
    notes = " ".join(comparison.notes(found))
    assert "3 cases, such as im2col on C64 28x28" in notes
    assert "3 cases, such as im2col on C16 14x14" in notes


def test_a_case_whose_baseline_failed_has_no_verdict(write: Write) -> None:
    new = [
        replace(row, status="timeout", median_s=None)
        if (row.backend, row.in_channels) == ("torch_conv", 64)
        else row
        for row in measured(2)
    ]
    found = compare(write("old", measured(1)), write("new", new))
    assert verdicts(found, "im2col").count("") == 2
    assert "4 cases" in comparison.notes(found)[-1]
    assert found.cases["regression"].sum() == 2


def test_a_run_of_one_backend_is_compared_by_plain_times(write: Write) -> None:
    alone = {"backends": ("torch_conv",)}
    found = compare(write("old", measured(1, **alone)), write("new", measured(2, **alone)))
    assert found.baseline is None
    assert set(found.cases["verdict"]) <= {"same", "undecided"}


def test_cases_match_whatever_their_version_or_device_name(write: Write) -> None:
    new = [replace(row, backend_version="2", device_name="other") for row in measured(2)]
    found = compare(write("old", measured(1)), write("new", new))
    assert found.cases["new_s"].notna().all()


def test_hot_and_cold_caches_are_not_compared(write: Write) -> None:
    cold = [replace(row, cache="cold") for row in measured(2)]
    old = write("old", measured(1))
    assert not compare(old, write("cold", cold)).judged.any()
    both = compare(old, write("both", [*measured(2), *cold]))
    assert both.cases["status_old"].isna().sum() == len(PROBLEMS) * len(BACKENDS)


OTHERS = {
    "settings.tf32: False against True": {"settings": SETTINGS | {"tf32": True}},
    "settings.threads: 1 against 2": {"settings": SETTINGS | {"threads": 2}},
    "settings.block_s: not recorded against 0.1": {"settings": SETTINGS | {"block_s": 0.1}},
    "machine.cpu: 'AMD EPYC 7B13' against 'Z80'": {
        "machine": made.ENVIRONMENT["machine"] | {"cpu": "Z80"}
    },
    "versions.torch: '2.13.0+cpu' against '3'": {
        "versions": made.ENVIRONMENT["versions"] | {"torch": "3"}
    },
    "environment.json: only the old run has one": {"bare": True},
}


@pytest.mark.parametrize("difference", OTHERS)
def test_runs_of_other_machines_or_settings_need_an_option(write: Write, difference: str) -> None:
    old, new = write("old", measured(1)), write("new", measured(2), **OTHERS[difference])
    with pytest.raises(ValueError, match="--across-machines") as refusal:
        compare(old, new)
    assert difference in str(refusal.value)
    assert "\n" not in str(refusal.value)
    found = compare(old, new, across_machines=True)
    assert found.differences == [difference]
    assert difference in comparison.notes(found)[-1]


def test_rows_of_another_environment_are_an_error(write: Write) -> None:
    new = [replace(row, environment_id="e1") for row in measured(2)]
    runs = write("old", measured(1), bare=True), write("new", new, bare=True)
    with pytest.raises(ValueError, match="environment_id: 'e0' against 'e1'"):
        compare(*runs)
    assert compare(*runs, across_machines=True).cases["new_s"].notna().all()
    mixed = write("mixed", [*measured(1), *new], bare=True)
    with pytest.raises(ValueError, match="'mixed' has rows of 2 environments"):
        compare(runs[0], mixed, across_machines=True)


@pytest.mark.parametrize("name", ["pytest-benchmark", "matplotlib", "pandas"])
def test_versions_of_what_does_not_measure_make_no_difference(write: Write, name: str) -> None:
    versions = made.ENVIRONMENT["versions"] | {name: "0"}
    rows = [replace(row, environment_id="e1") for row in measured(2)]
    new = write("new", rows, versions=versions, environment_id="e1")
    assert compare(write("old", measured(1)), new).differences == []


@pytest.mark.parametrize("name", ["seed", "case_timeout_s", "passes"])
def test_how_long_a_run_took_makes_it_no_other(write: Write, name: str) -> None:
    new = write("new", measured(2), settings=SETTINGS | {name: 123})
    assert compare(write("old", measured(1)), new).differences == []
