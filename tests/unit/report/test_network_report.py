"""Networks in the report: totals, and breakdowns of whole networks."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep import formatting
from convsweep.analysis.network_breakdown import breakdowns_by_setting, network_breakdowns
from convsweep.analysis.network_totals import (
    FASTEST,
    FASTEST_OF_ALL,
    REPLACED,
    STANDARD,
    network_sums,
    ratio,
    standard_pairs,
)
from convsweep.analysis.run import Run, network_totals, read_run
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.plots.networks import spread
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.sections import network_breakdown
from convsweep.report.sections import network_totals as totals_section
from convsweep.report.sections.network_totals import read_networks
from convsweep.results.networks import CONVOLUTION
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support.synthetic_networks import (
    LAYERS,
    PAIR,
    PUBLISHED,
    fastest_s,
    frame,
    inside,
    modelled,
    rows,
)

Read = Callable[..., Run]
NONE = frame(inside()).iloc[:0]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row], missing_cases: int = 0) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        run = read_run(measurements, summarize(measurements))
        return run._replace(missing_cases=missing_cases)

    return read


def test_each_choice_adds_up_its_backends_times_and_macs(read: Read) -> None:
    [one] = network_sums(read(rows("net_standard", noise=0.0)))
    stem, block = (problem for _, _, problem in LAYERS["net_standard"])
    choices = one.choices
    assert choices[STANDARD].sum.time.value == pytest.approx(modelled("net_standard", "torch_conv"))
    assert choices[REPLACED].sum.time.value == pytest.approx(modelled("net_standard", "separable"))
    assert choices[STANDARD].macs == stem.macs + 4 * block.macs
    assert choices[REPLACED].macs == made.work(stem, "separable") + 4 * made.work(
        block, "separable"
    )
    best = sum(n * fastest_s(p, "torch_conv", "im2col") for _, n, p in LAYERS["net_standard"])
    assert choices[FASTEST].sum.time.value == pytest.approx(best)
    for choice in choices.values():
        gained = choices[STANDARD].sum.time.value / choice.sum.time.value
        assert choice.speedup.value == pytest.approx(gained)
        assert choice.mac_ratio == pytest.approx(choices[STANDARD].macs / choice.macs)


def test_the_standard_choice_is_the_baselines_total(read: Read) -> None:
    run = read(rows("net", noise=0.05))
    [one] = network_sums(run)
    assert one.standard.sum.time == pytest.approx(network_totals(run, "net")["torch_conv"].time)


def test_no_choice_is_slower_than_those_it_could_have_made(read: Read) -> None:
    for one in network_sums(read(rows(noise=0.05))):
        time = {name: choice.sum.time.value for name, choice in one.choices.items()}
        assert time[FASTEST] <= time[STANDARD]
        assert time.get(FASTEST_OF_ALL, 0.0) <= min(time[FASTEST], time[REPLACED])


def test_slow_passes_widen_totals_but_not_ratios(read: Read) -> None:
    shaken = [
        replace(row, median_s=row.median_s and row.median_s * (1 + 0.3 * (row.pass_index % 3)))
        for row in rows("net_standard", noise=0.0)
    ]
    [one] = network_sums(read(shaken))
    choice = one.choices[REPLACED]
    assert choice.speedup.high / choice.speedup.low == pytest.approx(1)
    assert choice.sum.time.high / choice.sum.time.low > 1.1


def test_a_network_and_its_standard_version_are_a_pair(read: Read) -> None:
    sums = network_sums(read(rows(noise=0.0)))
    [(one, standard)] = standard_pairs(sums)
    assert (one.network, standard.network) == ("net", "net_standard")
    found = ratio(standard.standard.sum, one.standard.sum)
    expected = modelled("net_standard", "torch_conv") / modelled("net", "torch_conv")
    assert found.value == pytest.approx(expected)


@pytest.mark.parametrize("lack", ["layer", "unreached"])
def test_an_incomplete_network_has_no_total(read: Read, lack: str) -> None:
    def judge(problem: ConvProblem, backend: str, _: float) -> tuple[str, str | None]:
        return "crash", "gone"

    found = rows("net")
    if lack == "layer":
        crash = made.rows([PAIR[1]], backends=["torch_conv"], judge=judge)
        found = [row for row in found if row.layer != "pw"]
        found += [replace(row, workload="net", layer="pw", layer_count=4) for row in crash]
    run = read(found, missing_cases=lack == "unreached")
    [one] = network_sums(run)
    assert one.choices == {}
    section = totals_section.section(read_networks(run, breakdowns_by_setting(run, NONE)))
    assert section is not None
    assert section.sentence
    assert formatting.NO_VALUE in section.tables[0][1].rows[0]
    assert not section.pictures


def test_the_parts_of_a_network_add_up_to_its_end_to_end_time(read: Read) -> None:
    run = read(rows("net", noise=0.0))
    [one], absent = network_breakdowns(run, frame(inside(slower=1.5)), run.settings[0])
    assert absent == {}
    assert one.isolated.time.value == pytest.approx(modelled("net", "torch_conv"))
    assert one.slowdown.value == pytest.approx(1.5, rel=0.01)
    assert one.slowdown.low > 1.45
    parts = [one.in_network, *one.others.values()]
    assert sum(part.time.value for part in parts) + one.unattributed_s == pytest.approx(
        one.end_to_end.time.value
    )
    assert one.unattributed_s == pytest.approx(2.5e-5, rel=0.05)
    assert [layer.layer for layer in one.layers] == ["stem", "dw", "pw"]
    assert all(layer.slowdown.value == pytest.approx(1.5, rel=0.01) for layer in one.layers)


@pytest.mark.parametrize(
    ("slower", "watching", "verdict"),
    [(1.4, 0.02, "slower"), (1.2, 0.9, "undecided"), (0.6, 0.02, "faster")],
)
def test_the_overhead_of_timing_does_not_count_as_slower(
    read: Read, slower: float, watching: float, verdict: str
) -> None:
    run = read(rows("net", noise=0.002))
    [one], _ = network_breakdowns(
        run, frame(inside(slower=slower, watching=watching)), run.settings[0]
    )
    assert one.verdict == verdict
    assert one.slowdown.value == pytest.approx(slower, rel=0.02)
    call_overhead_s = watching * one.end_to_end.time.value / 15
    overhead_s = sum(layer.overhead_s for layer in one.layers)
    assert (
        overhead_s == pytest.approx(one.overhead_s) == pytest.approx(9 * call_overhead_s, rel=0.01)
    )


def test_cold_layers_are_added_up_beside_hot_ones(read: Read) -> None:
    cold = [replace(row, cache="cold") for row in rows("net", noise=0.0, seconds=colder)]
    run = read(rows("net", noise=0.0) + cold)
    [one], _ = network_breakdowns(run, frame(inside(watching=-0.1)), run.settings[0])
    assert one.cold is not None
    assert one.cold.time.value == pytest.approx(3 * one.isolated.time.value)
    assert one.overhead_s == 0


def colder(problem: ConvProblem, backend: str, device: str) -> float:
    return 3 * made.modelled_s(problem, backend, device)


@pytest.mark.parametrize("lack", ["layer", "memory"])
def test_a_network_without_a_breakdown_has_a_reason(read: Read, lack: str) -> None:
    failed = replace(inside()[-1], status="out_of_memory", reason="too large", total_s=None)
    run = read([row for row in rows("net") if lack == "memory" or row.layer != "dw"])
    networks = frame([failed] if lack == "memory" else inside())
    found, missing = network_breakdowns(run, networks, run.settings[0])
    assert (found, [*missing]) == ([], ["net"])
    assert ("too large" if lack == "memory" else "1 of 3 distinct") in missing["net"]
    section = network_breakdown.section(breakdowns_by_setting(run, networks))
    assert section is not None
    assert [*section.tables, *section.pictures, *section.note] == []


def test_a_pass_that_runs_out_of_budget_keeps_the_earlier_ones(read: Read) -> None:
    late = replace(inside()[-1], pass_index=99, status="timeout", reason="budget", total_s=None)
    run = read(rows("net"))
    whole, cut = (network_breakdowns(run, frame(every), run.settings[0])
                  for every in (inside(), [*inside(), late]))  # fmt: skip
    assert cut[1] == {}
    assert cut[0][0].end_to_end.time == whole[0][0].end_to_end.time


def test_sections_have_a_row_per_network_and_figures(read: Read) -> None:
    run = read(rows())
    networks = frame(inside(slower=1.2), inside("net_standard"))
    with drawing_style():
        totals = totals_section.section(read_networks(run, breakdowns_by_setting(run, networks)))
        breakdown = network_breakdown.section(breakdowns_by_setting(run, networks))
        assert totals is not None
        assert breakdown is not None
        pictures = [*totals.pictures, *breakdown.pictures]
        assert len(pictures) == 3
        assert all("net" in picture.alt for picture in pictures)
        assert all(png(picture.figure) for picture in pictures)
    (_, table), (_, pairs), (_, layers) = totals.tables
    assert {row[0] for row in table.rows} == {"net", "net_standard"}
    (_, sums), (_, parts), (_, slower) = breakdown.tables
    assert len(sums.rows) == len(parts.rows) == 2
    assert {(row[0], row[-1]) for row in slower.rows} == {("net", "slower")}
    assert {row[0] for row in layers.rows} == {"net", "net_standard"}
    assert [row[0] for row in pairs.rows] == ["net"]


def test_the_first_table_has_a_row_per_network(read: Read) -> None:
    run = read(rows())
    found = read_networks(run, breakdowns_by_setting(run, frame(inside(), inside("net_standard"))))
    table = totals_section.networks_table(found)
    assert [row[0] for row in table.rows] == ["net", "net_standard"]
    assert all(table.rows[1])
    assert "end to end" in totals_section.sentences(found)[0]
    found = read_networks(run, breakdowns_by_setting(run, NONE))
    assert "end to end" not in totals_section.sentences(found)[0]


def test_the_layers_that_save_most_are_those_that_gain_most_time(read: Read) -> None:
    run = read(rows("resnet18", noise=0.001))
    table = totals_section.layers_table(run)
    found = [row[1].split()[0] for row in table.rows]
    gains = {
        layer: count * (made.modelled_s(problem, "torch_conv", "cpu")
                        - made.modelled_s(problem, "separable", "cpu"))
        for layer, count, problem in PUBLISHED["resnet18"] if problem.kernel_size != (1, 1)
    }  # fmt: skip
    assert found == sorted(gains, key=lambda layer: -gains[layer])[: len(found)]


def test_a_run_without_networks_has_no_sections(read: Read) -> None:
    run = read(made.rows([made.square(16, 14, 3)]))
    assert totals_section.section(read_networks(run, breakdowns_by_setting(run, NONE))) is None
    assert network_breakdown.section(breakdowns_by_setting(run, NONE)) is None


def test_only_the_setting_that_was_timed_is_compared(read: Read) -> None:
    run = read(rows("net"))
    other = [replace(row, threads=2) for row in inside()]
    assert network_breakdowns(run, frame(other), run.settings[0]) == ([], {})


def test_convolutions_without_a_problem_count_among_the_others(read: Read) -> None:
    upward = [
        replace(row, kind=CONVOLUTION, problem=None) for row in inside() if row.kind == "pooling"
    ]
    run = read(rows("net"))
    usual, with_upward = (
        network_breakdowns(run, frame(own), run.settings[0])[0][0]
        for own in (inside(), upward + inside())
    )
    assert with_upward.in_network.time == pytest.approx(usual.in_network.time)
    assert with_upward.others["other"].time == pytest.approx(usual.others["pooling"].time)


def test_only_passes_that_both_have_are_compared(read: Read) -> None:
    run = read(rows("net", passes=9))
    [one], _ = network_breakdowns(run, frame(inside(passes=4)), run.settings[0])
    assert one.passes == 4
    assert np.isfinite(one.isolated_share).all()


@given(st.lists(st.floats(0, 1), max_size=16).map(sorted), st.floats(0.001, 0.1))
def test_names_keep_their_order_and_do_not_overlap(heights: list[float], least: float) -> None:
    apart = spread(heights, least)
    assert len(apart) == len(heights)
    assert all(upper - lower >= least * 0.999 for lower, upper in pairwise(apart))
    assert sum(apart) == pytest.approx(sum(heights))
