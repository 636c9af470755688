"""Separable against standard layers: speedup, MAC ratio, roofline, parts."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convsweep.analysis.roofline import roofline_efficiencies
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.pairing import compare_separable, compare_settings
from convsweep.analysis.summary import summarize
from convsweep.problems.separable import separable_macs
from convsweep.report.sections.roofline import section as roofline_section
from convsweep.report.sections.separable import section
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

PROBLEMS = made.grid((8, 64), (14, 56), (3, 5))
Read = Callable[[list[Row]], Run]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row], baseline: str = "torch_conv") -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements, baseline))

    return read


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Eight problems whose machine is known."""
    run_dir = made.write(tmp_path_factory.mktemp("study") / "run", study_of.rows(PROBLEMS))
    measurements = load(run_dir)
    return read_run(measurements, summarize(measurements))


def test_every_replaced_layer_is_compared(usual: Run) -> None:
    found = compare_separable(usual).replacements
    assert {r.problem for r in found} == set(PROBLEMS)
    for r in found:
        assert r.mac_ratio == pytest.approx(r.problem.macs / separable_macs(r.problem))
        assert 1 / r.mac_ratio == pytest.approx(
            1 / r.problem.out_channels + 1 / math.prod(r.problem.kernel_size)
        )


def test_mac_ratio_times_its_realized_share_is_the_speedup(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        assert np.multiply(r.realized, r.mac_ratio) == pytest.approx(r.speedup)


def test_parts_have_the_efficiency_that_they_were_made_with(read: Read) -> None:
    seconds = study_of.near_ceilings(0.8, 0.2, 0.5, overhead_s=0)
    run = read(study_of.rows(PROBLEMS, seconds, noise=1e-4))
    found = roofline_efficiencies(run, compare_separable(run))
    efficiency = {one.name: one.efficiency.value for one in found if one.name != "separable"}
    expected = {"torch_conv": 0.8, "depthwise part": 0.2, "pointwise part": 0.5}
    assert efficiency == pytest.approx(expected, rel=0.02)


def test_the_roofline_allows_what_its_probes_say(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        for part in r.parts.values():
            assert part.attainable_s == pytest.approx(study_of.least_s(part.problem), rel=0.02)
        least_s = sum(r.parts[name].attainable_s for name in study_of.PART_OF)
        assert r.roofline_speedup == pytest.approx(r.standard.attainable_s / least_s)


def test_parts_and_rest_sum_to_the_time(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        assert sum(share.value for share in r.shares.values()) == pytest.approx(1, abs=1e-4)
        rest = r.shares["rest"]
        assert rest.low < rest.value < rest.high


def test_time_outside_the_parts_is_the_rest(read: Read) -> None:
    alone = study_of.near_ceilings(overhead_s=0)

    def slower(problem: object, backend: str, device: str) -> float:
        return alone(problem, backend, device) * (1.25 if backend == "separable" else 1)

    found = compare_separable(read(study_of.rows(PROBLEMS, slower, noise=1e-4)))
    for r in found.replacements:
        assert r.shares["rest"].value == pytest.approx(0.2, abs=0.01)


def test_without_parts_and_roofline_only_the_speedup_is_reported(read: Read) -> None:
    rows = [row for row in study_of.rows(PROBLEMS) if row.role == "case"]
    run = read(rows)
    for r in compare_separable(run).replacements:
        assert r.speedup.value > 0
        assert math.isnan(r.roofline_speedup)
        assert all(math.isnan(share.value) for share in r.shares.values())
    assert compare_separable(run).timed == []
    assert roofline_section(run, compare_settings(run)) is None
    found = section(run, compare_settings(run), {})
    assert found is not None
    assert len(found.tables) == 2  # thresholds and speedups
    assert "of the MAC ratio" in found.sentence


def test_a_problem_with_a_missing_part_is_not_timed(read: Read) -> None:
    lost = study_of.PART_OF["depthwise"](PROBLEMS[0]).label
    rows = [
        replace(row, status="timeout", median_s=None) if row.problem == lost else row
        for row in study_of.rows(PROBLEMS)
    ]
    found = compare_separable(read(rows)).timed
    assert {one.problem for one in found} == set(PROBLEMS[1:])


def test_two_layers_may_share_a_part(read: Read) -> None:
    pair = [made.square(16, 14, 3), made.square(16, 14, 5)]
    found = compare_separable(read(study_of.rows(pair))).replacements
    assert [r.parts["pointwise"].problem for r in found] == [
        study_of.PART_OF["pointwise"](pair[0])
    ] * 2
    assert all(r.is_timed for r in found)


@pytest.mark.parametrize("backends", [("torch_conv", "im2col"), ("separable",)])
def test_without_replacements_there_is_no_section(read: Read, backends: tuple) -> None:
    run = read(made.rows(PROBLEMS, backends=backends))
    assert compare_separable(run).replacements == []
    assert section(run, compare_settings(run), {}) is None


def test_separable_is_no_replacement_of_itself(read: Read) -> None:
    assert compare_separable(read(study_of.rows(PROBLEMS), "separable")).replacements == []


def test_the_tables_have_a_row_a_problem_and_no_missing_number(usual: Run) -> None:
    found = section(usual, compare_settings(usual), {})
    assert found is not None
    (_, thresholds), *others = found.tables
    assert len(thresholds.rows) == len({problem.input_size for problem in PROBLEMS})
    assert all(len(table.rows) == len(PROBLEMS) for _, table in others)
    for _, table in found.tables:
        assert all(len(row) == len(table.heads) for row in table.rows)
        assert not any("nan" in cell for row in table.rows for cell in row)


def test_roofline_rates_have_intervals(usual: Run) -> None:
    found = roofline_section(usual, compare_settings(usual))
    assert found is not None
    [row] = found.tables[0][1].rows
    assert row[:3] == ("cpu", "float32", "1")
    assert all("(" in rate for rate in row[3:])
    names = [row[0] for row in found.tables[1][1].rows]
    assert names == ["torch_conv", "separable", "depthwise part", "pointwise part"]


def test_settings_are_reported_apart(read: Read) -> None:
    rows = study_of.rows(PROBLEMS)
    slow = [
        replace(row, threads=2, median_s=row.median_s and 0.6 * row.median_s)
        for row in study_of.rows(PROBLEMS, study_of.near_ceilings(standard=0.3))
    ]
    run = read(rows + slow)
    found = section(run, compare_settings(run), {})
    assert found is not None
    assert found.sentence.startswith("On cpu, 1 thread:")
    assert all(table.heads[0] == "setting" for _, table in found.tables)
    ceilings = roofline_section(run, compare_settings(run))
    assert ceilings is not None
    assert len(ceilings.tables[0][1].rows) == 2
    assert {picture.name for picture in ceilings.pictures} == {
        "roofline_cpu_1_thread", "roofline_cpu_2_threads"
    }  # fmt: skip
