"""Who beats whom at the machine's limit, by how much and how surely; told as the numbers are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convsweep.analysis.cases import filter_by_error, split
from convsweep.analysis.families.candidates import (
    Candidates,
    Role,
    log_speedups,
    pick_by_layer,
    pick_fastest,
    read_candidates,
)
from convsweep.analysis.families.comparison import (
    SEPARABLE_BLOCKS,
    ComparisonGroup,
    compare_families,
    compare_networks,
)
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.backends.registry import list_backends
from convsweep.formatting import NO_VALUE
from convsweep.problems.separable import FACTORED
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections.families import TITLE, section
from convsweep.results.schema import ROOFLINE
from convsweep.results.store import load
from tests.support.synthetic_families import ERRORS, FASTER, family_rows, run_of

EXACT = {"noise": 1e-3}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Run]:
    return lambda **how: run_of(family_rows(**EXACT | how), tmp_path / f"run{len(how)}")


def only_field(run: Run) -> Candidates:
    (field,) = read_candidates(run)
    return field


def match_of(found: list[ComparisonGroup], role: str, kind: str) -> ComparisonGroup:
    (match,) = (
        m for m in found if m.kind == kind and role in {c.role for c in m.comparisons.values()}
    )
    return match


def test_a_run_of_the_textbook_alone_has_no_such_part(made: Callable[..., Run]) -> None:
    assert section(made(backends=["torch_conv", "im2col"])) is None


def test_each_role_is_as_much_faster_as_it_was_made(made: Callable[..., Run]) -> None:
    found = compare_families(only_field(made()))
    own = match_of(found, Role.KERNELS, "3x3, stride 1").comparisons
    expected = {Role.PLAIN: 3.0, Role.TORCH: 3.0, Role.ENGINES: 2.0}
    assert {
        name: compare_backends.speedup.value for name, compare_backends in own.items()
    } == pytest.approx(expected, rel=0.01)
    separable = match_of(found, Role.SEPARABLE_KERNELS, SEPARABLE_BLOCKS).comparisons[
        Role.SEPARABLES
    ]
    assert separable.speedup.value == pytest.approx(FASTER["separable_numba"], rel=0.01)
    algorithm = match_of(found, Role.ALGORITHMS, "3x3, stride 1").comparisons[Role.PLAIN]
    assert algorithm.speedup.value == pytest.approx(FASTER["winograd"], rel=0.01)
    assert own[Role.PLAIN].error == ERRORS["winograd_numba"]
    assert own[Role.PLAIN].decided == own[Role.PLAIN].layers == 2


def test_torch_may_choose_its_memory_format(made: Callable[..., Run]) -> None:
    faster_last = made(
        in_format=lambda b, f: 0.5 if (b, f) == ("torch_conv", "channels_last") else 1
    )
    own = match_of(
        compare_families(only_field(faster_last)), Role.KERNELS, "3x3, stride 1"
    ).comparisons
    assert own[Role.PLAIN].speedup.value == pytest.approx(3.0, rel=0.01)
    assert own[Role.TORCH].speedup.value == pytest.approx(1.5, rel=0.01)
    assert own[Role.ENGINES].speedup.value == pytest.approx(
        1.5, rel=0.01
    )  # torch is the best of them


def test_a_separable_kernel_is_no_contender_on_dense_weights(made: Callable[..., Run]) -> None:
    field = only_field(made(faster=FASTER | {"separable_numba": 50.0}))
    assert {p.backend for p in pick_by_layer(field.select(Role.KERNELS)).values()} == {
        "winograd_numba",
        "depthwise_numba",
    }


def test_separable_blocks_are_held_against_the_engines_two_calls(tmp_path: Path) -> None:
    rows = family_rows(**EXACT)
    engine = [
        replace(
            row,
            backend="separable_ncnn",
            backend_family="engines",
            median_s=row.median_s and row.median_s / 1.2,
        )
        for row in rows
        if row.backend == "separable"
    ]
    found = compare_families(only_field(run_of(rows + engine, tmp_path / "run")))
    comparisons = match_of(found, Role.SEPARABLE_KERNELS, SEPARABLE_BLOCKS).comparisons
    assert comparisons[Role.SEPARABLE_ENGINES].speedup.value == pytest.approx(1.3 / 1.2, rel=0.01)
    assert comparisons[Role.SEPARABLES].speedup.value == pytest.approx(1.3, rel=0.01)


def test_a_pass_that_the_budget_cut_short_chooses_nobody(made: Callable[..., Run]) -> None:
    field = only_field(made())
    cut = field.log_s.copy()
    cut[1::2, -1] = np.nan
    whole = pick_fastest(_field(field.log_s[:4, :-1]))
    found = pick_fastest(_field(cut[:4]))
    assert found.log_s[:-1] == pytest.approx(whole.log_s)
    assert np.isnan(found.log_s[-1])


def test_sums_take_torch_where_there_is_no_kernel_or_a_slower_one(made: Callable[..., Run]) -> None:
    (whole,) = compare_networks(only_field(made()))
    assert (whole.layers, whole.on_torch) == (5, 2)
    assert whole.over_torch.value > whole.over_engines.value > 1
    slow = made(faster=FASTER | {"winograd_numba": 0.5, "depthwise_numba": 0.5})
    (whole,) = compare_networks(only_field(slow))
    assert whole.on_torch == whole.layers
    assert whole.over_torch.value == pytest.approx(1.0, rel=0.01)


def test_a_network_with_a_layer_that_torch_has_no_time_of_has_no_sum(tmp_path: Path) -> None:
    lacking = [
        replace(row, status="timeout", median_s=None)
        if (row.layer, row.backend) == ("pw", "torch_conv")
        else row
        for row in family_rows(**EXACT)
    ]
    assert compare_networks(only_field(run_of(lacking, tmp_path / "run"))) == []


def test_opponents_may_be_faster(made: Callable[..., Run]) -> None:
    found = compare_families(only_field(made(faster=FASTER | {"winograd_numba": 1.3})))
    own = match_of(found, Role.KERNELS, "3x3, stride 1").comparisons
    assert [own[Role.PLAIN].decided, own[Role.PLAIN].lost] == [2, 0]
    assert [own[Role.ENGINES].decided, own[Role.ENGINES].lost] == [0, 2]


def test_names_tell_who_computes_from_factors() -> None:
    for name, backend in list_backends().items():
        assert backend.needs_factors == name.startswith(FACTORED), name


@pytest.mark.parametrize("backends", [None, ["torch_conv", "winograd_numba"]])
def test_the_table_compares_with_engines_if_there_are_any(
    made: Callable[..., Run], backends: list[str] | None
) -> None:
    with drawing_style():
        found = section(made(**({"backends": backends} if backends else {})))
    assert found is not None
    opponents = {row[2] for row in found.tables[0][1].rows}
    assert ("best engine" in opponents) == (backends is None)
    assert "3.0x" in found.sentence


def test_one_pass_has_no_interval_and_decides_nothing(made: Callable[..., Run]) -> None:
    own = match_of(compare_families(only_field(made(passes=1))), Role.KERNELS, "3x3, stride 1")
    assert np.isnan(own.comparisons[Role.PLAIN].speedup.low)
    assert own.comparisons[Role.PLAIN].decided == 0


def test_unknown_errors_are_not_measured(tmp_path: Path) -> None:
    unknown = [replace(row, relative_err=None) for row in family_rows(**EXACT)]
    with drawing_style():
        found = section(run_of(unknown, tmp_path / "run"))
    assert found is not None
    assert {cell for row in found.tables[0][1].rows for cell in row[-2:]} == {NO_VALUE}


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-10, 2))
)
def test_each_pass_has_the_time_of_the_case_that_the_others_choose(logs: np.ndarray) -> None:
    field = _field(logs)
    found = pick_fastest(field)
    for index, value in enumerate(found.log_s):
        assert value in logs[:, index]
    assert (found.log_s >= logs.min(axis=0)).all()


def test_a_pick_among_equals_is_not_too_good_to_be_true() -> None:
    every = np.random.default_rng(0).normal(0, 0.1, size=(300, 20, 5))
    assert every.min(axis=1).mean() < -0.1
    assert abs(np.mean([pick_fastest(_field(logs)).log_s for logs in every])) < 0.01


def _field(logs: np.ndarray) -> Candidates:
    import pandas as pd

    cases = pd.DataFrame({"backend": [f"b{i}" for i in range(len(logs))]})
    return Candidates(
        "", cases.assign(format="contiguous", relative_err=1e-7), logs, "b0", 0.02, {}
    )


def test_speedups_are_over_the_baseline_in_one_format(made: Callable[..., Run]) -> None:
    field = only_field(made(in_format=lambda b, f: 2.0 if f == "channels_last" else 1.0))
    logs = log_speedups(field)
    torch = field.has_role(Role.TORCH)
    last = (field.cases["format"] == "channels_last").to_numpy()
    assert np.exp(logs[torch & ~last]) == pytest.approx(1.0)
    assert np.exp(logs[torch & last]) == pytest.approx(0.5, rel=0.02)


def test_settings_are_told_apart_and_formats_are_not(tmp_path: Path) -> None:
    rows = family_rows(**EXACT)
    two = rows + [replace(row, threads=2) for row in rows]
    run = run_of(two, tmp_path / "run")
    assert [field.name for field in read_candidates(run)] == ["cpu, 1 thread", "cpu, 2 threads"]
    with drawing_style():
        found = section(run)
    assert found is not None
    assert found.title == TITLE
    assert found.sentence.startswith("On cpu, 1 thread: ")
    assert {row[0] for row in found.tables[0][1].rows} == {"cpu, 1 thread", "cpu, 2 threads"}
    assert len(found.pictures) == 2


def test_a_limit_leaves_out_what_is_less_exact(tmp_path: Path) -> None:
    run_of(rows := family_rows(**EXACT), tmp_path / "run")
    measurements = load(tmp_path / "run")
    exact, note = filter_by_error(measurements, 1e-6)
    summary = summarize(exact)
    ok = set(summary.loc[summary["status"] == "ok", "backend"])
    assert ok == {row.backend for row in rows} - {"winograd_numba"}
    assert "winograd_numba in 4" in note
    run = read_run(exact, summary)
    assert "winograd_numba" not in {
        p.backend for p in pick_by_layer(only_field(run).select(Role.KERNELS)).values()
    }
    assert filter_by_error(measurements, 1e-3)[0].equals(measurements)


def test_one_inexact_pass_leaves_out_the_case_and_ceilings_stay(tmp_path: Path) -> None:
    rows = [
        replace(row, relative_err=1e-2)
        if (row.backend, row.pass_index, row.status) == ("ncnn", 1, "ok")
        else row
        for row in family_rows(**EXACT)
    ]
    rows += [replace(rows[0], role=ROOFLINE, relative_err=None)]
    run_of(rows, tmp_path / "run")
    left, _ = filter_by_error(load(tmp_path / "run"), 1e-3)
    assert not (left.loc[left["backend"] == "ncnn", "status"] == "ok").any()
    assert (split(left).ceilings["status"] == "ok").all()


def test_a_limit_needs_relative_errors(tmp_path: Path) -> None:
    run_of([replace(row, relative_err=None) for row in family_rows(**EXACT)], tmp_path / "run")
    with pytest.raises(ValueError, match="relative error"):
        filter_by_error(load(tmp_path / "run"), 1e-3)
