"""Networks in the report: totals, the whole against its parts, words that follow the data."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_breakdown import UNATTRIBUTED, network_breakdowns
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
from convsweep.problems.networks import BUILDERS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import workloads
from convsweep.report.plots import layers
from convsweep.report.plots import networks as drawing
from convsweep.report.plots.networks import spread
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.section import Section
from convsweep.report.sections import network_breakdown, published_counts
from convsweep.report.sections import network_totals as sums_in_words
from convsweep.report.sections.network_totals import pace
from convsweep.report.tables import markdown
from convsweep.results.networks import (
    CONVOLUTION,
    INSTRUMENTED,
    NETWORKS_TABLE,
    WHOLE,
    NetworkRow,
)
from convsweep.results.schema import MEASUREMENTS_TABLE, Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made

PAIR = (made.square(64, 14, 3, groups=64), ConvProblem(64, 128, (14, 14), 1))
LAYERS: Mapping[str, tuple[tuple[str, int, ConvProblem], ...]] = {
    "net": (("stem", 1, made.square(16, 56, 3)), ("dw", 4, PAIR[0]), ("pw", 4, PAIR[1])),
    "net_standard": (
        ("stem", 1, made.square(16, 56, 3)),
        ("block", 4, ConvProblem(64, 128, (14, 14), 3, padding=1)),
    ),
}
Seconds = Callable[[ConvProblem, str, str], float]
Read = Callable[..., Run]


def rows(
    *workloads: str,
    backends: tuple[str, ...] = ("torch_conv", "im2col", "separable"),
    seconds: Seconds = made.modelled_s,
    passes: int = 6,
    noise: float = 0.01,
) -> list[Row]:
    return [
        replace(row, workload=workload, layer=layer, layer_count=count)
        for workload in workloads or LAYERS
        for number, (layer, count, problem) in enumerate(LAYERS[workload])
        for row in made.rows(
            [problem], backends=backends, seconds=seconds, passes=passes, noise=noise, seed=number
        )
    ]


def written(run_dir: Path, rows: list[Row]) -> pd.DataFrame:
    """The rows as they are read back, written at once: the disk is waited for only once."""
    measurements = MEASUREMENTS_TABLE.open(run_dir)
    measurements.append(*rows)
    measurements.close()
    return load(run_dir)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row], missing_cases: int = 0) -> Run:
        measurements = written(tmp_path / "run", rows)
        run = read_run(measurements, summarize(measurements))
        return run._replace(missing_cases=missing_cases)

    return read


def inside(
    network: str = "net",
    *,
    slower: float = 1.0,
    passes: int = 6,
    others: float = 5e-5,
    watching: float = 0.05,
) -> list[NetworkRow]:
    """A network whose convolutions take `slower` times what they take alone, and what is not."""
    found: list[NetworkRow] = []
    for index in range(passes):
        whole = NetworkRow(
            run_id="synthetic", pass_index=index, started_at="2026-11-22T10:00:00+00:00",
            environment_id="e0", network=network, device="cpu", dtype="float32",
            memory_format="contiguous", threads=1, kind=WHOLE, count=1, calls=9, status="ok",
        )  # fmt: skip
        jitter = 1 + 0.002 * math.sin(index)
        total_s = 0.0
        for layer, count, problem in LAYERS[network]:
            own_s = jitter * slower * count * made.modelled_s(problem, "torch_conv", "cpu")
            total_s += own_s
            found.append(
                replace(whole, kind=CONVOLUTION, layer=layer, problem=problem.label, count=count,
                        call_s=own_s / count, total_s=own_s)
            )  # fmt: skip
        for kind in ("batch norm", "pooling"):
            found.append(replace(whole, kind=kind, count=3, call_s=others / 3, total_s=others))
        seconds = total_s + 2.5 * others
        for kind, own_s in ((INSTRUMENTED, (1 + watching) * seconds), (WHOLE, seconds)):
            found.append(replace(whole, kind=kind, call_s=own_s, total_s=own_s))
    return found


def frame(*networks: list[NetworkRow]) -> pd.DataFrame:
    return pd.DataFrame([vars(row) for rows in networks for row in rows])


def modelled(workload: str, backend: str) -> float:
    return sum(n * made.modelled_s(p, backend, "cpu") for _, n, p in LAYERS[workload])


def fastest_s(problem: ConvProblem, *backends: str) -> float:
    able = [b for b in backends if made.outcome(problem, b, 0.0)[0] == "ok"]
    return min(made.modelled_s(problem, backend, "cpu") for backend in able)


def test_each_choice_adds_up_its_backends_times_macs_and_parameters(read: Read) -> None:
    [one] = network_sums(read(rows("net_standard", noise=0.0)))
    stem, block = (problem for _, _, problem in LAYERS["net_standard"])
    choices = one.choices
    assert (one.layers, one.convolutions) == (2, 5)
    assert choices[STANDARD].sum.time.value == pytest.approx(modelled("net_standard", "torch_conv"))
    assert choices[REPLACED].sum.time.value == pytest.approx(modelled("net_standard", "separable"))
    assert choices[STANDARD].macs == stem.macs + 4 * block.macs
    assert choices[STANDARD].parameters == 16 * 16 * 9 + 4 * 64 * 128 * 9
    assert choices[REPLACED].parameters == 16 * 9 + 16 * 16 + 4 * (64 * 9 + 64 * 128)
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


def test_what_befalls_a_whole_pass_is_not_in_a_ratio(read: Read) -> None:
    """Passes that are slower as a whole widen totals, not their ratios."""
    made_rows = rows("net_standard", noise=0.0)
    shaken = [
        replace(row, median_s=row.median_s and row.median_s * (1 + 0.3 * (row.pass_index % 3)))
        for row in made_rows
    ]
    [one] = network_sums(read(shaken))
    choice = one.choices[REPLACED]
    assert choice.speedup.high / choice.speedup.low == pytest.approx(1)
    assert choice.sum.time.high / choice.sum.time.low > 1.1


def test_a_network_and_its_standard_twin_are_a_pair(read: Read) -> None:
    sums = network_sums(read(rows(noise=0.0)))
    [(one, twin)] = standard_pairs(sums)
    assert (one.workload, twin.workload) == ("net", "net_standard")
    found = ratio(twin.standard.sum, one.standard.sum)
    expected = modelled("net_standard", "torch_conv") / modelled("net", "torch_conv")
    assert found.value == pytest.approx(expected)


@pytest.mark.parametrize("lack", ["layer", "unreached"])
def test_a_network_that_is_not_all_there_has_no_total(read: Read, lack: str) -> None:
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
    section = sums_in_words.section(run)
    assert section is not None
    assert section.sentences == ["net: no total, since not every layer has a time on torch_conv."]
    assert not section.tables
    assert not section.pictures


def test_the_whole_is_its_convolutions_its_other_calls_and_what_is_between(read: Read) -> None:
    run = read(rows("net", noise=0.0))
    [one], absent = network_breakdowns(run, frame(inside(slower=1.5)), run.settings[0])
    alone = modelled("net", "torch_conv")
    assert absent == []
    assert one.isolated.time.value == pytest.approx(alone)
    assert one.slowdown.value == pytest.approx(1.5, rel=0.01)
    assert one.slowdown.low > 1.45
    parts = [one.in_network, *one.others.values()]
    assert sum(part.time.value for part in parts) + one.unattributed_s == pytest.approx(
        one.whole.time.value
    )
    assert one.unattributed_s == pytest.approx(2.5e-5, rel=0.05)
    assert one.instrumentation_overhead == pytest.approx(0.05)
    assert [layer.layer for layer in one.layers] == ["stem", "dw", "pw"]
    assert all(layer.slowdown.value == pytest.approx(1.5, rel=0.01) for layer in one.layers)


def test_only_the_setting_that_was_timed_is_compared(read: Read) -> None:
    run = read(rows("net"))
    other = [replace(row, threads=2) for row in inside()]
    assert network_breakdowns(run, frame(other), run.settings[0]) == ([], [])


def test_a_network_with_more_convolutions_than_were_timed_is_told(read: Read) -> None:
    run = read([row for row in rows("net") if row.layer != "dw"])
    section = network_breakdown.section(run, frame(inside()))
    assert section is not None
    assert section.sentences == [
        "net was run whole, but 1 of its 3 distinct convolutions have no time alone."
    ]


def test_convolutions_that_no_problem_stands_for_count_among_the_others(read: Read) -> None:
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


@pytest.mark.parametrize(("factor", "between"), [(3.0, True), (1.1, False)])
def test_layers_with_cold_caches_are_told_beside(read: Read, factor: float, between: bool) -> None:
    def colder(problem: ConvProblem, backend: str, device: str) -> float:
        return factor * made.modelled_s(problem, backend, device)

    cold = [replace(row, cache="cold") for row in rows("net", seconds=colder)]
    section = network_breakdown.section(read(rows("net") + cold), frame(inside(slower=1.5)))
    assert section is not None
    [said] = [text for text in section.sentences if "caches emptied" in text]
    assert ("between hot and cold" in said) == between
    assert len(section.pictures) == 1


def test_fewer_visits_than_passes_are_compared_by_those_that_both_have(read: Read) -> None:
    run = read(rows("net", passes=9))
    [one], _ = network_breakdowns(run, frame(inside(passes=4)), run.settings[0])
    assert one.passes == 4
    assert np.isfinite(one.isolated_share).all()


@pytest.mark.parametrize(
    ("slower", "said"),
    [(1.4, "as long as alone, for sure in"), (0.6, "less than alone"), (1.0, "not to be told")],
)
def test_words_follow_what_convolutions_take_within_the_network(
    read: Read, slower: float, said: str
) -> None:
    run = read(rows("net", noise=0.02))
    section = network_breakdown.section(run, frame(inside(slower=slower)))
    assert section is not None
    [sentence] = [text for text in section.sentences if text.startswith("Inside net")]
    assert said in sentence
    assert not any("other layers" in text for text in section.sentences)


@pytest.mark.parametrize(("watching", "sign"), [(0.02, 1), (0.9, 0)])
def test_what_timing_may_have_added_is_no_sign_of_longer(
    read: Read, watching: float, sign: int
) -> None:
    run = read(rows("net", noise=0.002))
    networks = frame(inside(slower=1.2, watching=watching))
    [one], _ = network_breakdowns(run, networks, run.settings[0])
    section = network_breakdown.section(run, networks)
    assert section is not None
    [sentence] = [text for text in section.sentences if text.startswith("Inside net")]
    assert one.slowdown.low > 1.1
    assert one.call_overhead_s == pytest.approx(watching * one.whole.time.value / 15, rel=0.01)
    assert one.sign == sign
    assert ("not to be told from alone" in sentence) == (sign == 0)
    assert "timing a call may add up to" in sentence
    assert sum(layer.overhead_s for layer in one.layers) == pytest.approx(9 * one.call_overhead_s)


def test_a_watch_that_seems_to_save_time_costs_nothing(read: Read) -> None:
    run = read(rows("net"))
    [one], _ = network_breakdowns(run, frame(inside(watching=-0.1)), run.settings[0])
    assert one.call_overhead_s == 0


def test_a_part_that_takes_no_time_is_not_named(read: Read) -> None:
    run = read(rows("net"))
    few = network_breakdown.section(run, frame(inside(others=1e-7)))
    many = network_breakdown.section(run, frame(inside(others=1e-3)))
    assert few is not None
    assert many is not None
    assert not any("batch norm" in text for text in few.sentences)
    assert any("1.00 ms in batch norm" in text and UNATTRIBUTED in text for text in many.sentences)


def test_a_network_that_could_not_be_run_is_told_with_its_reason(read: Read) -> None:
    failed = replace(inside()[-1], status="out_of_memory", reason="too large", total_s=None)
    section = network_breakdown.section(read(rows("net")), frame([failed]))
    assert section is not None
    assert section.sentences == ["net could not be run whole: out of memory, too large."]
    assert (list(section.tables), list(section.pictures), list(section.notes)) == ([], [], [])


def test_two_whole_networks_are_compared_end_to_end(read: Read) -> None:
    section = network_breakdown.section(read(rows()), frame(inside(), inside("net_standard")))
    assert section is not None
    assert section.sentences[-1].startswith("End to end, net is ")
    assert "than net_standard" in section.sentences[-1]


def test_a_run_of_no_workload_has_neither_part(read: Read, tmp_path: Path) -> None:
    run = read(made.rows([made.square(16, 14, 3)]))
    assert sums_in_words.section(run) is None
    assert network_breakdown.section(run, NETWORKS_TABLE.load_completed(tmp_path).rows) is None


def mobilenets() -> list[Row]:
    return [
        replace(row, workload=layer.workload, layer=layer.name, layer_count=layer.count)
        for name in published_counts.PUBLISHED
        for layer in workloads()[name]
        for row in made.rows([layer.problem], backends=["torch_conv"], passes=1)
    ]


def test_a_run_of_mobilenet_and_its_twin_is_held_against_the_paper(read: Read) -> None:
    run = read(mobilenets())
    found = published_counts.counts(run)
    assert [one.network for one in found] == ["mobilenetv1_100_standard", "mobilenetv1_100"]
    for one in found:
        with torch.device("meta"):
            weights = BUILDERS[one.network]().parameters()
        assert one.whole.parameters == sum(weight.numel() for weight in weights)
        told = published_counts.PUBLISHED[one.network]
        assert one.whole.macs == pytest.approx(told.macs, rel=0.001)
        assert one.whole.parameters == pytest.approx(told.parameters, rel=0.01)
    section = sums_in_words.section(run)
    [sentence] = [text for text in texts(section) if text.startswith("Howard")]
    for number in ("4866 and 569", "29.3 and 4.2", "4867.3 and 568.7", "29.29 and 4.23"):
        assert number in sentence
    assert any("| 4866 | 4866.3 | 4867.3 | 29.3 | 28.26 | 29.29 |" in t for t in texts(section))


def test_half_a_mobilenet_is_held_against_nothing(read: Read) -> None:
    run = read([row for row in mobilenets() if row.layer != "conv1"])
    assert published_counts.counts(run) == []
    assert not any("Howard" in text for text in texts(sums_in_words.section(run)))


def test_one_pass_gives_no_interval_and_no_claim(read: Read) -> None:
    run = read(rows(passes=1))
    section = sums_in_words.section(run)
    assert section is not None
    assert not any("times faster" in text for text in section.sentences)
    assert any("too few passes" in text for text in section.sentences)
    both = network_breakdown.section(run, frame(inside(passes=1)))
    assert both is not None
    assert any("not to be told from alone" in text for text in both.sentences)


@pytest.mark.parametrize(
    ("speedup", "said"),
    [
        (Interval(2.0, 1.9, 2.1), "2.00 [1.90, 2.10] times faster"),
        (Interval(0.5, 0.4, 0.8), "2.00 [1.25, 2.50] times slower"),
        (Interval(1.1, 0.9, 1.3), "neither faster nor slower"),
        (Interval(1.1, math.nan, math.nan), "too few passes"),
    ],
)
def test_a_pace_is_claimed_only_where_its_interval_says_so(speedup: Interval, said: str) -> None:
    assert said in pace(speedup)


def texts(section: Section | None) -> list[str]:
    assert section is not None
    return [*section.sentences, *(markdown(table) for _, table in section.tables)]


def test_other_times_make_other_sentences(read: Read, tmp_path: Path) -> None:
    def slow_separable(problem: ConvProblem, backend: str, device: str) -> float:
        return made.modelled_s(problem, backend, device) * (40 if backend == "separable" else 1)

    usual = texts(sums_in_words.section(read(rows())))
    measurements = written(tmp_path / "other", rows(seconds=slow_separable))
    other = texts(sums_in_words.section(read_run(measurements, summarize(measurements))))
    changed = "net_standard with separable layers in 2 of 2 layers"
    [before], [after] = (
        [text for text in told if text.startswith(changed)] for told in (usual, other)
    )
    assert "times faster" in before
    assert "times slower" in after


def test_every_figure_is_drawn_with_a_finding_an_alt_text_and_a_caption(read: Read) -> None:
    run = read(rows())
    with drawing_style():
        sections = [
            sums_in_words.section(run),
            network_breakdown.section(run, frame(inside(slower=1.2), inside("net_standard"))),
        ]
        pictures = [p for section in sections if section for p in section.pictures]
        assert [p.name for p in pictures] == [
            "network_speedup", "macs_vs_time", "layers_vs_network",
        ]  # fmt: skip
        for picture in pictures:
            assert picture.title
            assert "net" in picture.alt
            assert "\n" not in picture.alt
            assert picture.caption
            assert png(picture.with_title_drawn().figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("found_s", "said"),
    [
        ((2.24e-3, 2.2e-3, 2.27e-3), "2.24 [2.20, 2.27] ms"),
        ((9.9e-7, 9e-7, 1.2e-6), "990 [900, 1,200] ns"),
        ((3.0, math.nan, math.nan), "3.00 s"),
        ((math.nan, math.nan, math.nan), "not measured"),
    ],
)
def test_a_time_and_its_interval_share_a_unit(
    found_s: tuple[float, float, float], said: str
) -> None:
    assert formatting.time(*found_s) == said


def test_sentences_and_tables_say_a_unit_once(read: Read) -> None:
    run = read(rows())
    told = texts(sums_in_words.section(run))
    told += texts(network_breakdown.section(run, frame(inside(), inside("net_standard"))))
    assert not re.search(r"[sm]s? \[[\d.,]+ [mµn]?s,", "\n".join(told))
    assert re.search(r"\d \[[\d.]+, [\d.]+\] [mµ]s", "\n".join(told))


@pytest.mark.parametrize(
    ("label", "short"),
    [
        ("mobilenetv1_100 block7.dw C512 14x14 k3 dw", "…block7.dw C512 14x14 k3 dw"),
        ("mobilenetv1_100_standard block1 C32→64 112x112 k3", "…block1 C32→64 112x112 k3"),
        ("features.denseblock1.denselayer1.conv1 C64", "…denseblock1.denselayer1.conv1 C64"),
        ("block1 C64 56x56", "block1 C64 56x56"),
        ("x" * 40, "…" + "x" * 35),
    ],
)
def test_a_long_label_keeps_the_layers_name(label: str, short: str) -> None:
    assert formatting.shorten(label) == short


def test_the_figure_of_one_network_names_its_layers_without_it(read: Read) -> None:
    with drawing_style():
        picture = layers.draw(read(rows()), "net_standard")
    assert picture is not None
    names = [text.get_text() for text in picture.figure.axes[0].get_yticklabels()]
    assert [name.split()[0] for name in names] == ["stem", "block"]


def test_one_network_has_no_figure_of_several(read: Read) -> None:
    run = read(rows("net_standard"))
    assert drawing.draw_work(network_sums(run), "") is None
    assert drawing.draw_breakdown([], "") is None
    assert drawing.draw_gains([], "") is None


@given(st.lists(st.floats(0, 1), max_size=16).map(sorted), st.floats(0.001, 0.1))
def test_names_keep_their_order_and_never_lie_on_each_other(
    heights: list[float], least: float
) -> None:
    apart = spread(heights, least)
    assert len(apart) == len(heights)
    assert all(upper - lower >= least * 0.999 for lower, upper in pairwise(apart))
    assert sum(apart) == pytest.approx(sum(heights))
