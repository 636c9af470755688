"""Settings against each other: known ratios, paired by pass, corrected; the best per problem."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from convsweep.analysis.estimates import Interval
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.settings import SettingSpeedup, pair_settings, setting_speedups, varied
from convsweep.analysis.summary import summarize
from convsweep.report.sections.settings import section
from convsweep.report.summary_text import setting_sentences
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((16, 64), (14, 28), (3,))
BACKENDS = ("torch_conv", "im2col")
FASTER = {"bfloat16": 1.9, "channels_last": 0.55, 2: 1.7}
"""How much faster each value is than the first one."""
Read = Callable[[Iterable[Row]], Run]


def in_settings(passes: int = 8, noise: float = 0.02, disturbance: float = 0.0) -> list[Row]:
    """A run over dtypes, formats and threads; `disturbance` slows all cases of a pass down."""
    rng, rows = np.random.default_rng(5), []
    slow = rng.normal(0, disturbance, passes)
    base = made.rows(PROBLEMS, backends=BACKENDS, passes=1, noise=0.0)
    for row in base:
        for dtype in ("bfloat16", "float32"):
            for memory_format in ("contiguous", "channels_last"):
                for threads in (2, 1):
                    faster = math.prod(FASTER.get(v, 1.0) for v in (dtype, memory_format, threads))
                    own = replace(row, dtype=dtype, memory_format=memory_format, threads=threads)
                    for index in range(passes):
                        factor = math.exp(slow[index] + rng.normal(0, noise)) / faster
                        rows.append(replace(own, pass_index=index, **times(row, factor)))
    return rows


def times(row: Row, factor: float) -> dict[str, float]:
    names = ("min_s", "p05_s", "median_s", "p95_s", "mad_s")
    return {name: getattr(row, name) * factor for name in names}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    def read(rows: Iterable[Row]) -> Run:
        measurements = load(made.write(tmp_path_factory.mktemp("run"), rows))
        return read_run(measurements, summarize(measurements))

    return read


@pytest.fixture(scope="module")
def run(read: Read) -> Run:
    return read(in_settings(passes=16, disturbance=0.5))  # half of which are left out


def test_intervals_hold_the_true_ratios_and_are_as_narrow_as_pairs_allow(run: Run) -> None:
    found = setting_speedups(run)
    assert len(found) == 3 * 4 * len(BACKENDS)
    held = 0
    for one in found:
        true = next(FASTER[v] for v in FASTER if str(v) in one.value)
        held += one.speedup.low < true < one.speedup.high
        assert one.speedup.high / one.speedup.low < 1.06  # the passes differ by a factor of two
        assert one.verdicts == {"faster" if true > 1 else "slower": len(PROBLEMS)}
    assert held >= 0.9 * len(found)
    assert {(one.axis, one.first) for one in found} == {
        ("dtype", "float32"), ("memory_format", "contiguous"), ("threads", "1 thread"),
    }  # fmt: skip


def test_the_summary_compares_with_the_first_setting_of_the_run(run: Run) -> None:
    held = []
    for case in run.cases.to_dict("records"):
        values = (case["dtype"], case["memory_format"], case["threads"])
        true = math.prod(FASTER.get(value, 1.0) for value in values)
        assert case["setting_speedup"] == pytest.approx(true, rel=0.05)
        if values == ("float32", "contiguous", 1):
            assert case["setting_verdict"] == "baseline"
        else:
            held.append(case["setting_speedup_ci_low"] < true < case["setting_speedup_ci_high"])
            near = abs(math.log(true)) < 0.1
            assert near or case["setting_verdict"] == ("faster" if true > 1 else "slower")
    assert len(held) == 7 * len(PROBLEMS) * len(BACKENDS)
    assert np.mean(held) > 0.85


def test_a_run_in_one_setting_compares_none(read: Read) -> None:
    run = read(made.rows(PROBLEMS, backends=BACKENDS))
    assert varied(run.cases) == {}
    assert run.cases[["setting_speedup", "setting_verdict"]].isna().all(axis=None)
    assert not setting_speedups(run)
    assert section(run, []) is None


def test_equal_settings_are_called_different_as_rarely_as_the_correction_allows() -> None:
    rows = made.rows(made.grid(range(1, 41), (7,), (1,)), backends=["torch_conv"], passes=1)
    rng, alarms, pairs = np.random.default_rng(1), 0, 0
    frame = pd.DataFrame([vars(row) for row in rows])
    for _ in range(20):
        both = frame.loc[frame.index.repeat(2)].reset_index(drop=True)
        both["dtype"] = ["float32", "bfloat16"] * len(frame)
        found = pair_settings(both, rng.normal(0, 0.03, (len(both), 8)), margin=0.0)
        alarms += found.table["verdict"].isin(["faster", "slower"]).sum()
        pairs += len(found.table)
    assert pairs == 20 * 40
    assert alarms <= 10  # none is expected in 19 of 20 runs


def test_problems_that_differ_in_their_batch_have_a_first_setting_each(read: Read) -> None:
    problems = [made.square(8, 7, 3, batch_size=1), made.square(8, 14, 3, batch_size=4)]
    rows = made.rows(problems, backends=["torch_conv"])
    run = read([*rows, *(replace(row, dtype="bfloat16", **times(row, 0.5)) for row in rows)])
    assert [*varied(run.cases)] == ["dtype"]
    assert Counter(run.cases["setting_verdict"]) == {"baseline": 2, "faster": 2}


def test_a_case_without_the_first_value_is_compared_with_none(read: Read) -> None:
    rows = [row for row in in_settings() if row.backend != "im2col" or row.dtype != "float32"]
    found = setting_speedups(read(rows))
    assert {one.backend for one in found if one.axis == "dtype"} == {"torch_conv"}
    assert {one.backend for one in found if one.axis == "threads"} == {*BACKENDS}


def cells(run: Run, caption: str) -> list[dict[str, str]]:
    """Rows of a table of the section."""
    found = section(run, setting_speedups(run))
    assert found is not None
    table = dict(found.tables)[caption]
    return [dict(zip(table.heads, row, strict=True)) for row in table.rows]


BEST = "Fastest setting per problem"


def test_the_best_setting_of_a_problem_is_the_one_with_the_largest_product(run: Run) -> None:
    found = cells(run, BEST)
    assert len(found) == len(PROBLEMS)
    for one in found:
        assert one["fastest setting"] == "bfloat16, contiguous, 2 threads"
        speedup = float(one["speedup over its first setting"].partition("x")[0])
        assert speedup == pytest.approx(FASTER["bfloat16"] * FASTER[2], rel=0.03)
        assert one["significant"] == "yes"


def test_cold_caches_are_compared_and_not_to_be_chosen(read: Read) -> None:
    hot = in_settings(passes=3)
    cold = [replace(row, cache="cold", **times(row, 2.0)) for row in hot]
    run = read([*hot, *cold])
    assert {one.value for one in setting_speedups(run) if one.axis == "cache"} == {"cold cache"}
    settings = [one["fastest setting"] for one in cells(run, BEST)]
    for cache in ("hot", "cold"):
        assert settings.count(f"bfloat16, contiguous, 2 threads, {cache} cache") == len(PROBLEMS)


def test_images_per_second_name_the_batch_that_gives_most(read: Read) -> None:
    seconds = {1: 1e-3, 4: 2e-3, 16: 2e-2}
    problems = [made.square(8, 7, 3, batch_size=size) for size in seconds]
    run = read(
        made.rows(
            problems,
            backends=["torch_conv"],
            seconds=lambda problem, *_: seconds[problem.batch_size],
            noise=0.005,
        )
    )
    [rates] = cells(run, "Images per second by batch size")
    assert rates["most"] == "batch 4"
    for size, true in ((1, 1000), (4, 2000), (16, 800)):
        shown = rates[f"batch {size}"].partition(" ")[0].replace(",", "")
        assert float(shown) == pytest.approx(true, rel=0.03)
    ratios = {one.value: one.speedup for one in setting_speedups(run)}
    assert ratios["batch 4"].low < 2 < ratios["batch 4"].high
    assert ratios["batch 16"].low < 0.8 < ratios["batch 16"].high
    [sentence] = setting_sentences(setting_speedups(run))
    assert "atch 4" in sentence
    assert [
        caption for caption, _ in section(run, setting_speedups(run)).tables if caption == BEST
    ] == []


@pytest.mark.parametrize("wide", [(), (2,), (2, 4)])
def test_a_mean_of_too_few_passes_is_no_number_in_a_sentence(wide: tuple[int, ...]) -> None:
    speedups = [
        SettingSpeedup(
            "threads", f"{n} threads", "1 thread", "torch_conv", "",
            Interval(1 / n, 0.02 if n in wide else 0.9 / n, 1.1 / n), Counter(undecided=4),
        )
        for n in (2, 4)
    ]  # fmt: skip
    [sentence] = setting_sentences(speedups)
    assert sentence.count("x (") == 2 - len(wide)
    assert sentence.count("too few passes") == bool(wide)
    assert all(f"{n} threads" in sentence for n in (2, 4))


def test_a_page_has_one_short_sentence_per_axis_and_the_tables(run: Run) -> None:
    sentences = setting_sentences(setting_speedups(run))
    assert len(sentences) == 3
    assert all(len(sentence.split()) <= 25 for sentence in sentences)
    found = section(run, setting_speedups(run))
    assert found is not None
    assert found.sentence == sentences[0]
    assert [len(table.rows) for _, table in found.tables] == [24, len(PROBLEMS)]
