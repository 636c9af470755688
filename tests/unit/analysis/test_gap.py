"""Gap of separable layers: its parts add up to the measured time, whatever their signs."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.gap import (
    CAUSES,
    PREDICTED,
    Gap,
    fastest_variants,
    find_gaps,
    gap_table,
)
from convsweep.analysis.separable.pairing import compare_separable
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.results.schema import ROOFLINE, SEPARABLE_PART, Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

PROBLEMS = made.grid((8, 64), (14, 56), (3,))
FIXED_S, REORDER_S = 2e-6, 1e-6
Read = Callable[[Iterable[Row]], Run]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: Iterable[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def gaps_of(run: Run) -> list[Gap]:
    return find_gaps(compare_separable(run))


def total(gap: Gap) -> float:
    return gap.predicted.value + sum(cause.value for cause in gap.causes.values())


def with_separable(factor: float) -> study_of.Seconds:
    """Return times in which both parts together take `factor` of their times alone."""
    alone = study_of.near_ceilings()
    return lambda p, b, device: alone(p, b, device) * (factor if b == "separable" else 1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("passes", [1, 4, 7])
def test_parts_add_up_to_the_measured_time(read: Read, factor: float, passes: int) -> None:
    rows = study_of.rows(PROBLEMS, with_separable(factor), passes=passes, noise=0.03)
    found = gaps_of(read(study_of.traced(rows)))
    assert len(found) == len(PROBLEMS)
    for gap in found:
        assert total(gap) == pytest.approx(1)
        assert tuple(gap.causes) == CAUSES
        together = gap.causes["unattributed time"].value
        assert together == pytest.approx(1 - 1 / factor, abs=0.2 / factor)
        speedup, ratio = gap.replacement.speedup.value, gap.replacement.mac_ratio
        assert speedup / gap.predicted.value == pytest.approx(ratio)
        for share in (gap.predicted, *gap.causes.values()):
            known = share.low <= share.value <= share.high
            assert known if passes > 1 else np.isnan(share.low)


def test_each_part_is_the_one_that_the_run_was_made_of(read: Read) -> None:
    seconds = study_of.near_ceilings(0.9, 0.25, 0.6, overhead_s=FIXED_S + REORDER_S)
    rows = study_of.rows(PROBLEMS, seconds, noise=0)
    for gap in gaps_of(read(study_of.traced(rows, FIXED_S, REORDER_S))):
        standard = gap.replacement.problem
        separable_s = seconds(standard, "separable", "cpu")
        standard_kernel_s = study_of.least_s(standard) / 0.9
        depthwise, pointwise = (part(standard) for part in study_of.PART_OF.values())
        of_macs = [standard_kernel_s * p.macs / standard.macs for p in (depthwise, pointwise)]
        roofs = [study_of.least_s(depthwise), study_of.least_s(pointwise)]
        needed = [*map(max, of_macs, roofs)]
        expected_s = {
            PREDICTED: (standard_kernel_s + FIXED_S + REORDER_S) / gap.replacement.mac_ratio,
            "standard layer's overhead": -(FIXED_S + REORDER_S) / gap.replacement.mac_ratio,
            "machine's limit (roofline)": sum(needed) - sum(of_macs),
            "depthwise kernel's excess": roofs[0] / 0.25 - needed[0],
            "pointwise kernel's excess": roofs[1] / 0.6 - needed[1],
            "reorders": 2 * REORDER_S,
            "fixed cost per call": 2 * FIXED_S,
            "unattributed time": 0,
        }
        values = {PREDICTED: gap.predicted, **gap.causes}
        found_s = {name: separable_s * share.value for name, share in values.items()}
        assert found_s == pytest.approx(expected_s, rel=1e-6, abs=1e-3 * separable_s)


def without(*names: str) -> Callable[[Row], Row]:
    return lambda row: replace(row, **dict.fromkeys(names))


def slow_trace(row: Row) -> Row:
    return replace(row, kernel_s=row.kernel_s and 2 * row.kernel_s)


@pytest.mark.parametrize("change", [without("kernel_s"), without("reorder_s"), slow_trace])
@pytest.mark.parametrize("role", ["case", SEPARABLE_PART])
def test_a_layer_without_a_plausible_trace_has_no_gap(
    read: Read, change: Callable[[Row], Row], role: str
) -> None:
    small = {part(PROBLEMS[0]).label for part in study_of.PART_OF.values()} | {PROBLEMS[0].label}
    rows = study_of.traced(study_of.rows(PROBLEMS))
    run = read(change(r) if r.role == role and r.problem in small else r for r in rows)
    assert [gap.replacement.problem for gap in gaps_of(run)] == PROBLEMS[1:]


@pytest.mark.parametrize("role", [ROOFLINE, SEPARABLE_PART])
def test_a_run_without_roofline_or_parts_has_no_gaps(read: Read, role: str) -> None:
    rows = study_of.traced(study_of.rows(PROBLEMS))
    assert gaps_of(read(row for row in rows if row.role != role)) == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_variants_are_measured_ones_that_are_faster_per_image(read: Read, batch_size: int) -> None:
    factors = {"separable": 1.0, "separable_prepacked": 0.5, "separable_ncnn": 2.0}

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        per_image = 1.0 if problem.batch_size == 1 else 0.8
        return factors.get(backend, 0.1) * per_image * problem.macs * 1e-9

    problems = [*PROBLEMS, *(replace(p, batch_size=batch_size) for p in PROBLEMS)]
    rows = made.rows(dict.fromkeys(problems), backends=("torch_conv", *factors), seconds=seconds)
    other = [
        replace(row, memory_format="channels_last", median_s=0.75 * row.median_s)
        for row in rows
        if row.backend != "separable_prepacked"
    ]
    found = fastest_variants(read(rows + other))
    per_image = 1.0 if batch_size == 1 else 0.8
    formats = {"cpu, contiguous": [], "cpu, channels_last": ["contiguous"]}
    batch = [f"batch {batch_size}"] if batch_size > 1 else []
    for (setting, label), variant in found.items():
        largest = batch_size > 1 and f"N{batch_size}" in label
        words = [*formats[setting], *([] if largest else batch)]
        assert variant.name.split(" with ")[0] == "separable_prepacked"
        assert variant.name.split(" with ")[1:] == [" and ".join(words)] * bool(words)
        own = (1.0 if "contiguous" in setting else 0.75) * (per_image if largest else 1.0)
        assert variant.speedup.value == pytest.approx(own / (0.5 * per_image), rel=0.05)
    assert len(found) == 2 * len(dict.fromkeys(problems))


def test_one_pass_has_no_faster_variant(read: Read) -> None:
    names = ("torch_conv", "separable", "separable_ncnn")
    assert fastest_variants(read(made.rows(PROBLEMS, backends=names, passes=1))) == {}


def test_the_table_has_a_row_per_part(read: Read) -> None:
    found = gaps_of(read(study_of.traced(study_of.rows(PROBLEMS))))
    table = gap_table({"cpu": found})
    assert len(table) == len(PROBLEMS) * (1 + len(CAUSES))
    assert table.groupby("label")["share"].sum().to_list() == pytest.approx([1] * len(PROBLEMS))
