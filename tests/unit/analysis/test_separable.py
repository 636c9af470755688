"""The depthwise study: what was promised, what the ceilings allow, what was kept, where it pays."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.analysis.roofline_efficiency import roofline_efficiencies
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.comparison import (
    UNKNOWN,
    Replacement,
    SeparablePart,
    compare_separable,
)
from convsweep.analysis.separable.explanation import explain
from convsweep.analysis.separable.regions import FASTER, find_region
from convsweep.analysis.verdicts import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.sections.roofline import section as roofline_section
from convsweep.report.sections.separable import section
from convsweep.results.store import Row, load
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


def test_every_standard_layer_that_was_replaced_is_in_the_study(usual: Run) -> None:
    found = compare_separable(usual).replacements
    assert {r.problem for r in found} == set(PROBLEMS)
    for r in found:
        assert r.mac_ratio == pytest.approx(r.problem.macs / r.separable_macs)
        assert 1 / r.mac_ratio == pytest.approx(
            1 / r.problem.out_channels + 1 / math.prod(r.problem.kernel_size)
        )


def test_promise_and_what_is_kept_of_it_make_the_measured_speedup(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        assert np.multiply(r.realized, r.mac_ratio) == pytest.approx(r.speedup)


def test_what_ceilings_allow_and_what_is_reached_of_them_make_the_measured_speedup(
    usual: Run,
) -> None:
    for r in compare_separable(usual).replacements:  # four passes: no mean is trimmed
        least_s = r.depthwise.attainable_s + r.pointwise.attainable_s
        efficiency = least_s / r.separable.value
        made_of = r.roofline_speedup * efficiency / r.standard.efficiency.value
        assert made_of == pytest.approx(r.speedup.value)


def test_parts_reach_the_share_of_their_ceiling_that_they_were_made_with(read: Read) -> None:
    seconds = study_of.near_ceilings(0.8, 0.2, 0.5, overhead_s=0)
    found = explain(compare_separable(read(study_of.rows(PROBLEMS, seconds, noise=1e-4))))
    assert found is not None
    efficiency = {name: share.value for name, share in found.efficiency.items()}
    expected = {"standard": 0.8, "depthwise": 0.2, "pointwise": 0.5}
    assert efficiency == pytest.approx(expected, rel=0.02)


def test_a_part_is_bound_by_what_holds_it_back(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        for part in (r.standard, r.depthwise, r.pointwise):
            moved = part.problem.min_bytes()
            by_compute = part.problem.flops / study_of.PEAK_FLOPS_PER_S
            if study_of.least_s(part.problem) > 1.05 * by_compute:
                assert part.bound == ("cache" if moved <= study_of.CACHE_BYTES else "memory")
            assert part.intensity == pytest.approx(part.problem.arithmetic_intensity(4))


def test_halves_and_the_rest_are_the_whole_time(usual: Run) -> None:
    for r in compare_separable(usual).replacements:
        assert sum(share.value for share in r.shares.values()) == pytest.approx(1, abs=1e-4)
        rest = r.shares["rest"]
        assert rest.low < rest.value < rest.high


def test_time_beside_the_halves_is_the_rest(read: Read) -> None:
    alone = study_of.near_ceilings(overhead_s=0)

    def slower(problem: object, backend: str, device: str) -> float:
        return alone(problem, backend, device) * (1.25 if backend == "separable" else 1)

    found = compare_separable(read(study_of.rows(PROBLEMS, slower, noise=1e-4)))
    for r in found.replacements:
        assert r.shares["rest"].value == pytest.approx(0.2, abs=0.01)


def test_without_halves_or_ceilings_the_study_has_promise_and_speedup_alone(read: Read) -> None:
    rows = [row for row in study_of.rows(PROBLEMS) if row.role == "case"]
    run = read(rows)
    for r in compare_separable(run).replacements:
        assert r.speedup.value > 0
        assert math.isnan(r.roofline_speedup)
        assert all(math.isnan(share.value) for share in r.shares.values())
    assert explain(compare_separable(run)) is None
    assert roofline_section(run) is None
    told = section(run)
    assert told is not None
    assert len(told.tables) == 1
    assert len(told.sentences) == 1


def test_one_missing_half_takes_its_problem_out_of_the_explanation(read: Read) -> None:
    lost = study_of.HALF_OF["depthwise"](PROBLEMS[0]).label
    rows = [
        replace(row, status="timeout", median_s=None) if row.problem == lost else row
        for row in study_of.rows(PROBLEMS)
    ]
    found = explain(compare_separable(read(rows)))
    assert found is not None
    assert found.problems == len(PROBLEMS) - 1


def test_a_half_that_two_layers_share_is_found_for_both(read: Read) -> None:
    twins = [made.square(16, 14, 3), made.square(16, 14, 5)]
    found = compare_separable(read(study_of.rows(twins))).replacements
    assert [r.pointwise.problem for r in found] == [study_of.HALF_OF["pointwise"](twins[0])] * 2
    assert not any(math.isnan(r.pointwise.time.value) for r in found)


@pytest.mark.parametrize("backends", [("torch_conv", "im2col"), ("separable",)])
def test_where_nothing_was_replaced_there_is_no_section(read: Read, backends: tuple) -> None:
    run = read(made.rows(PROBLEMS, backends=backends))
    assert compare_separable(run).replacements == []
    assert section(run) is None


def test_separable_is_no_replacement_of_itself(read: Read) -> None:
    assert compare_separable(read(study_of.rows(PROBLEMS), "separable")).replacements == []


def test_the_tables_have_a_row_a_problem_and_no_missing_number(usual: Run) -> None:
    told = section(usual)
    assert told is not None
    for _, table in told.tables:
        assert len(table.rows) == len(PROBLEMS)
        assert all(len(row) == len(table.heads) for row in table.rows)
        assert not any("nan" in cell for row in table.rows for cell in row)


def test_the_ceilings_are_told_with_their_intervals(usual: Run) -> None:
    told = roofline_section(usual)
    assert told is not None
    (sentence,) = told.sentences
    assert sentence.startswith("cpu, float32, 1 thread: a matrix product runs at ")
    assert sentence.count("[") == 3
    rates = [row[-2] for row in told.tables[0][1].rows]
    expected = {"GFLOP/s": 1, "GB/s": 2}
    assert {unit: sum(unit in rate for rate in rates) for unit in expected} == expected
    names = [row[0] for row in told.tables[1][1].rows]
    assert names == ["torch_conv", "separable", "depthwise half", "pointwise half"]


def test_tables_and_sentences_on_halves_count_problems_alike(read: Read) -> None:
    run = read(study_of.rows([made.square(c, 14, k) for c in (8, 64) for k in (3, 5)]))
    found = explain(compare_separable(run))
    assert found is not None
    by_name = {attained.name: attained for attained in roofline_efficiencies(run)}
    for half in ("depthwise", "pointwise"):
        attained = by_name[f"{half} half"]
        assert attained.problems == found.problems == 4
        assert attained.efficiency == pytest.approx(found.efficiency[half])


def test_two_settings_have_ceilings_and_studies_of_their_own(read: Read) -> None:
    rows = study_of.rows(PROBLEMS)
    slow = [
        replace(row, threads=2, median_s=row.median_s and 0.6 * row.median_s)
        for row in study_of.rows(PROBLEMS, study_of.near_ceilings(standard=0.3))
    ]
    run = read(rows + slow)
    told = section(run)
    assert told is not None
    assert {sentence.split(":")[0] for sentence in told.sentences} == {
        "On cpu, 1 thread", "On cpu, 2 threads"
    }  # fmt: skip
    assert all(table.heads[0] == "setting" for _, table in told.tables)
    ceilings = roofline_section(run)
    assert ceilings is not None
    assert len(ceilings.sentences) == 2
    assert {picture.name for picture in ceilings.pictures} == {
        "roofline_cpu_1_thread", "roofline_cpu_2_threads"
    }  # fmt: skip


def replacement(channels: int, size: int, verdict: str) -> Replacement:
    """A problem of which only the verdict is known."""
    problem = made.square(channels, size, 3)
    part = SeparablePart(problem, 1.0, UNKNOWN, math.nan, "")
    label = f"C{channels} {size}x{size}"
    return Replacement(label, None, part, part, part, UNKNOWN, 1, UNKNOWN, verdict, {})


@given(
    st.lists(
        st.tuples(
            st.sampled_from((8, 16, 32, 64)),
            st.sampled_from((7, 14, 28)),
            st.sampled_from(("faster", "slower", "same", "undecided")),
        ),
        min_size=1,
        unique_by=lambda drawn: drawn[:2],
    )
)
def test_a_region_pays_everywhere_and_parts_the_problems(drawn: list) -> None:
    problems = [replacement(*one) for one in drawn]
    wins = [i for i, r in enumerate(problems) if r.verdict == FASTER]
    region = find_region(problems)
    if len(wins) in (0, len(problems)):
        assert region is None
    if region is not None:
        assert set(region.inside) <= set(wins)
        assert sorted([*region.inside, *region.outside]) == [*range(len(problems))]
        assert 2 * len(region.inside) >= len(wins)
        assert region.outside


def test_a_region_says_what_its_edge_lacks() -> None:
    places = [(8, 7), (8, 14), (8, 28), (64, 28), (128, 7), (128, 14), (128, 28)]
    problems = [replacement(c, s, "faster" if c >= 64 else "slower") for c, s in places]
    region = find_region(problems)
    assert region is not None
    assert region.where == "from 64 channels on (at 64 channels measured at 28x28 only)"
    assert region.beyond == "below 64 channels"


def test_problems_of_two_ranks_have_no_region() -> None:
    flat = [replacement(c, s, "faster") for c in (8, 64) for s in (7, 14)]
    line = ConvProblem(8, 8, (100,), 3, padding=1)
    part = SeparablePart(line, 1.0, UNKNOWN, math.nan, "")
    signal = Replacement("1-D", None, part, part, part, UNKNOWN, 1, UNKNOWN, "slower", {})
    assert find_region([*flat, signal]) is None


def test_a_region_is_found_where_the_line_is_straight() -> None:
    problems = [
        replacement(c, s, "faster" if c >= 32 else "slower")
        for c in (8, 16, 32, 64)
        for s in (7, 14)
    ]
    region = find_region(problems)
    assert region is not None
    assert (region.where, region.beyond) == ("from 32 channels on", "below 32 channels")
    assert len(region.inside) == 4
