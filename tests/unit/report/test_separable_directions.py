"""Separable layers in training: one table per setting, one answer, no mix of directions."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.best_backend import best_backends
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.directions import by_direction
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.settings import pair_settings, setting_speedups
from convsweep.analysis.summary import summarize
from convsweep.problems.case import DIRECTIONS
from convsweep.report import build
from convsweep.report.pages import Page
from convsweep.report.sections import directions, separable
from convsweep.report.summary_text import MOST_WORDS, summary_sentences
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_directions as directed
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")

PROBLEMS = made.grid((8, 32, 128), (14, 28), (3,))
SPEEDUPS = directed.SPEEDUPS
Read = Callable[[list[Row]], Run]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def found_in(run: Run):
    return by_direction(run, compare_settings(run))


def summary_of(run: Run) -> list[str]:
    return summary_sentences(run, compare_settings(run), setting_speedups(run))


def in_settings(rows: list[Row], *settings: dict[str, str]) -> list[Row]:
    return [replace(row, **setting) for setting in settings for row in rows]


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.?\d*", text)]


def test_each_direction_has_its_own_speedups_and_mean(read: Read) -> None:
    run = read(directed.rows(PROBLEMS))
    section = directions.section(run, found_in(run))
    assert section is not None
    table = section.tables[0][1]
    assert table.heads == ("problem", "MAC ratio", *DIRECTIONS)
    assert [row[0] for row in table.rows] == [*dict.fromkeys(run.cases["label"]), "mean"]
    for row in table.rows:
        for cell, name in zip(row[2:], DIRECTIONS, strict=True):
            value, low, high = numbers(cell)
            assert value == pytest.approx(SPEEDUPS[name], rel=0.03)
            assert low <= value <= high


def test_the_first_sentence_is_on_training_beside_forward(read: Read) -> None:
    run = read(directed.rows(PROBLEMS))
    sentence = summary_of(run)[0]
    assert sentence == directions.section(run, found_in(run)).sentence
    assert len(sentence.split()) <= MOST_WORDS
    means = {name: own.speedup for name, own in found_in(run)["cpu"].items()}
    said = numbers(sentence)
    assert said == pytest.approx([*means["training"], 6, 6, *means["forward"]], rel=0.01)


def test_settings_and_batch_sizes_have_a_table_each(read: Read) -> None:
    problems = [replace(p, batch_size=n) for n in (1, 8) for p in PROBLEMS]
    formats = ("contiguous", "channels_last")
    settings = [{"dtype": d, "memory_format": f} for d in ("float32", "bfloat16") for f in formats]
    run = read(in_settings(directed.rows(problems, passes=2), *settings))
    section = directions.section(run, found_in(run))
    (_, means), *tables, _ = section.tables
    assert len(means.rows) == len(tables) == 8
    assert {len(table.rows) for _, table in tables} == {len(PROBLEMS) + 1}
    assert not any("N8" in row[0] for _, table in tables for row in table.rows)
    assert all(
        f": {row[0]}" in caption for row, (caption, _) in zip(means.rows, tables, strict=True)
    )
    [sentence] = [one for one in summary_of(run) if one.startswith("In training")]
    assert len(sentence.split()) <= MOST_WORDS
    assert "8 settings" in sentence
    assert "48 of 48 cases" in sentence


@pytest.mark.parametrize("only", DIRECTIONS)
def test_one_direction_alone_has_no_section_and_the_usual_verdict(read: Read, only: str) -> None:
    run = read(directed.rows(PROBLEMS, {only: SPEEDUPS[only]}))
    assert found_in(run) == {}
    assert directions.section(run, {}) is None
    assert not any(one.startswith("In ") for one in summary_of(run))
    assert any(f"in {6 * (SPEEDUPS[only] > 1)} of 6 problems" in one for one in summary_of(run))


def test_a_problem_without_a_time_in_one_direction_is_in_no_mean(read: Read) -> None:
    rows = [
        replace(row, status="timeout", median_s=None, min_s=None, p05_s=None, p95_s=None)
        if (row.problem, row.direction) == (PROBLEMS[0].label, "training")
        else row
        for row in directed.rows(PROBLEMS)
    ]
    for comparison in found_in(read(rows))["cpu"].values():
        assert {r.problem for r in comparison.replacements} == {*PROBLEMS[1:]}


def test_thresholds_differ_by_direction(read: Read) -> None:
    def of(start: int) -> list[Row]:
        return [
            replace(row, **{name: getattr(row, name) * 8 for name in ("median_s", "p95_s")})
            if row.backend == "separable" and row.in_channels < start
            else row
            for row in directed.rows(PROBLEMS, {"forward": 4.0, "training": 4.0})
            if row.direction == ("training" if start == 128 else "forward")
        ]

    run = read(of(32) + of(128))
    section = directions.section(run, found_in(run))
    [table] = [table for caption, table in section.tables if "always faster" in caption]
    assert table.rows == [("14x14", "32", "128"), ("28x28", "32", "128")]
    [crossover] = [one for one in section.pictures if one.name == "crossover"]
    assert "4 of 6 problems (forward) and 2 of 6 problems (training)" in crossover.caption
    titles = [ax.get_title(loc="left") for ax in crossover.figure.axes[:2]]
    assert titles == ["forward, kernel 3", "training, kernel 3"]


def test_the_page_has_each_figure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Page] = []
    monkeypatch.setattr(build, "write_pages", lambda out, page: pages.append(page) or out)
    build.write_report(made.write(tmp_path / "run", directed.rows(PROBLEMS)), tmp_path / "out")
    [page] = pages
    names = [picture.name for picture in page.pictures]
    assert names.count("directions") == names.count("crossover") == 1
    assert page.overview.pictures[0].name == "directions"
    assert page.overview.table.heads[-len(DIRECTIONS) :] == DIRECTIONS
    [separable_layers] = [one for one in page.sections if one.title == separable.TITLE]
    assert not any("always faster" in caption for caption, _ in separable_layers.tables)


def test_backends_compete_within_a_direction(read: Read) -> None:
    run = read(directed.rows(PROBLEMS))
    best = best_backends(run)
    assert len(best) == len(PROBLEMS) * len(DIRECTIONS)
    expected = {name: "separable" if of > 1 else "torch_conv" for name, of in SPEEDUPS.items()}
    assert dict(zip(best["direction"], best["backend"], strict=True)) == expected


def test_a_setting_is_compared_with_the_first_one_of_its_direction(read: Read) -> None:
    halved = [
        replace(
            row, dtype="bfloat16", median_s=row.median_s / 2, min_s=None, p05_s=None, p95_s=None
        )
        for row in directed.rows(PROBLEMS, noise=1e-3)
    ]
    run = read(directed.rows(PROBLEMS, noise=1e-3) + halved)
    assert run.cases.groupby("dtype")["setting_speedup"].mean().to_dict() == pytest.approx(
        {"float32": 1, "bfloat16": 2}, rel=0.01
    )
    cases = run.cases.reset_index(drop=True)
    table = pair_settings(cases, run.log_s(cases)).table
    own = table[table["to_first"]]
    pair = [cases.loc[own[side], "direction"].to_numpy() for side in ("case", "base")]
    assert (pair[0] == pair[1]).all()
    of_baseline = ("training", "torch_conv", "float32")
    [training] = [one for one in setting_speedups(run)
                  if (one.value, one.backend, one.others) == of_baseline]  # fmt: skip
    assert training.first == "forward"
    assert training.speedup.value == pytest.approx(1 / 3, rel=0.01)


def test_tables_have_the_problems_with_the_most_macs(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions, "MOST_PROBLEMS", 2)
    run = read(directed.rows(PROBLEMS, passes=2))
    [*layers, mean] = directions.section(run, found_in(run)).tables[0][1].rows
    assert [row[0] for row in layers] == ["C128 14x14", "C128 28x28"]
    assert mean[0] == "mean"
    assert numbers(mean[-1])[0] == pytest.approx(SPEEDUPS["training"], rel=0.03)
