"""Advice on a model from the files of a run: totals, verdicts, texts and the picture."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from convsweep.analysis.model_advice import Advice, read_advice, write_model
from convsweep.analysis.model_savings import (
    LAYER_COLUMNS,
    UNDECIDED,
    estimate_saving,
    replacements,
)
from convsweep.models.advise.request import (
    distinct_layers,
    model_metadata,
)
from convsweep.models.advise.trace import record
from convsweep.problems.problem import ConvProblem
from convsweep.report import model_text as words
from convsweep.report.plots.model_layers import MOST_LAYERS, draw_model
from convsweep.report.sections.advice import section as advice_section
from convsweep.results import store
from convsweep.results.store import RunFolder
from tests.support import synthetic_runs as synthetic_run

SMALL, LARGE, GROUPED = (
    ConvProblem(8, 8, (8, 8), 3, padding=1),
    ConvProblem(64, 64, (28, 28), 3, padding=1),
    ConvProblem(8, 8, (8, 8), 3, padding=1, groups=4),
)


COUNTS = {SMALL: 3, LARGE: 1, GROUPED: 2}
Seconds = Callable[[ConvProblem, str, str], float]


def advice_on(
    run_dir: Path,
    times: dict[str, float],
    problems: Sequence[ConvProblem] = (SMALL, LARGE, GROUPED),
    *,
    passes: int = 6,
    noise: float = 0.002,
    model: dict[str, object] | None = None,
) -> Advice:
    """Advice on a made-up run, in which each backend takes so many times a millisecond."""

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        of_problem = times.get(f"{backend} {problems.index(problem)}", times[backend])
        return 1e-3 * of_problem * (2 if problem == LARGE else 1)

    rows = [
        replace(row, workload="mine", layer=f"conv{number}", layer_count=COUNTS[problem])
        for number, problem in enumerate(problems)
        for row in synthetic_run.rows(
            [problem], backends=list(dict.fromkeys(name.split()[0] for name in times)),
            passes=passes, seconds=seconds, noise=noise, seed=number,
        )
    ]  # fmt: skip
    synthetic_run.write(run_dir, rows, synthetic_run.ENVIRONMENT)
    labels = {"layers": [problem.label for problem in problems]}
    write_model(RunFolder(run_dir), labels | (model or {}))
    found = read_advice(RunFolder(run_dir))
    assert found is not None
    return found


def test_layers_csv_has_a_row_for_each_distinct_layer(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 0.5, "separable": 0.25})
    table = pd.read_csv(tmp_path / store.LAYERS)
    assert tuple(table.columns) == LAYER_COLUMNS == (
        "layer", "layer_count", "problem", "baseline_s", "best_backend", "best_s",
        "separable_speedup", "separable_ci_low", "separable_ci_high", "predicted_speedup",
    )  # fmt: skip
    assert list(table["problem"]) == [x.label for x in (SMALL, LARGE, GROUPED)]
    assert list(table["layer_count"]) == [3, 1, 2]
    assert set(table["best_backend"]) == {"im2col"}  # separable computes another function
    assert table["baseline_s"].to_list() == pytest.approx([1e-3, 2e-3, 1e-3], rel=0.01)
    assert table["separable_speedup"].to_list()[:2] == pytest.approx([4, 4], rel=0.01)
    assert table["predicted_speedup"].to_list()[:2] == [1 / (1 / 8 + 1 / 9), 1 / (1 / 64 + 1 / 9)]
    assert table.iloc[2, 6:].isna().all()  # a grouped layer can't be replaced
    assert (table["separable_ci_low"][:2] < table["separable_speedup"][:2]).all()
    assert found.layers[0].separable is not None


def test_totals_weigh_every_layer_by_its_count(tmp_path: Path) -> None:
    times = {"torch_conv": 1.0, "separable": 0.25, "separable 1": 1.0}
    found = advice_on(tmp_path, times)
    every = estimate_saving(found.run, found.layers, replacements(found.layers))
    now = estimate_saving(found.run, found.layers, {})
    assert now.time_s.value == pytest.approx((3 + 2 + 2) * 1e-3, rel=0.01)
    assert every.time_s.value == pytest.approx((3 * 0.25 + 2 + 2) * 1e-3, rel=0.01)
    assert every.speedup.value == pytest.approx(7 / 4.75, rel=0.01)
    assert every.speedup.low < every.speedup.value < every.speedup.high
    promised = {SMALL: 1 / (1 / 8 + 1 / 9), LARGE: 1 / (1 / 64 + 1 / 9), GROUPED: 1}
    macs_after = sum(n * p.macs / promised[p] for p, n in COUNTS.items())
    macs = sum(n * p.macs for p, n in COUNTS.items())
    assert every.mac_ratio == pytest.approx(macs / macs_after)
    assert every.convolutions == 4


def test_a_replacement_of_nothing_changes_nothing(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.5})
    nothing = estimate_saving(found.run, found.layers, {})
    assert (nothing.speedup.value, nothing.mac_ratio, nothing.convolutions) == (1, 1, 0)


def choices(advice: Advice) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table of totals by choice."""
    return {row[0]: row for row in words.totals_table(advice).rows}


@pytest.mark.parametrize(
    ("separable", "more", "verdict"),
    [
        (0.2, {}, "faster"),
        (3.0, {}, "slower"),
        (1.0, {"passes": 20}, "same"),
        (0.97, {"noise": 0.1, "passes": 12}, "undecided"),
    ],
)
def test_the_verdict_comes_first_and_follows_the_data(
    tmp_path: Path, separable: float, more: dict[str, Any], verdict: str
) -> None:
    advice = advice_on(tmp_path, {"torch_conv": 1.0, "separable": separable}, **more)
    row = choices(advice)["separable layers"]
    assert (row[1], row[4]) == ("4", verdict)
    step = words.next_step(advice)
    assert step.startswith("Retrain") == (verdict == "faster")
    assert ("--budget" in step) == (verdict == "undecided")
    assert row[3] in step


def test_replacing_only_where_it_is_faster_has_a_total(tmp_path: Path) -> None:
    mixed = advice_on(tmp_path / "mixed", {"torch_conv": 1, "separable 0": 2, "separable": 0.2})
    alike = advice_on(tmp_path / "alike", {"torch_conv": 1, "separable": 0.2})
    assert choices(mixed)["separable layers where faster"][1] == "1"
    assert "separable layers where faster" not in choices(alike)


def test_a_strategy_is_chosen_only_where_it_is_significantly_faster(tmp_path: Path) -> None:
    faster = advice_on(tmp_path / "faster", {"torch_conv": 1, "im2col": 0.5})
    slower = advice_on(tmp_path / "slower", {"torch_conv": 1, "im2col": 2})
    assert choices(faster)["fastest strategy per layer"][1] == "6"
    assert "fastest strategy per layer" not in choices(slower)
    noisy = {"noise": 0.1, "passes": 4}
    undecided = advice_on(tmp_path / "undecided", {"torch_conv": 1, "im2col": 0.98}, **noisy)
    assert "fastest strategy per layer" not in choices(undecided)
    assert any(row[5].endswith(" ?") for row in words.layer_table(undecided).rows)
    assert words.next_step(faster).startswith("Run convsweep optimize")


def test_one_figure_has_one_verdict(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 3}, [SMALL])
    [layer] = found.layers
    assert layer.separable is not None
    open_ = layer.separable._replace(verdict=UNDECIDED)  # as among many comparisons
    one_layer = [replace(layer, separable=open_)]
    assert estimate_saving(found.run, found.layers, replacements(found.layers)).verdict == "slower"
    assert estimate_saving(found.run, one_layer, replacements(one_layer)).verdict == UNDECIDED
    assert "undecided" in words.next_step(found._replace(layers=one_layer))


def test_one_pass_decides_nothing(tmp_path: Path) -> None:
    advice = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.2}, passes=1)
    assert choices(advice)["separable layers"][4] == "undecided"
    assert any("--budget" in note for note in words.notes(advice))


def test_the_measured_share_of_the_model_is_reported(tmp_path: Path) -> None:
    measured = sum(n * p.macs for p, n in COUNTS.items())
    model = {
        "name": "mine", "inputs": ["1x8x8x8"], "convolutions": 7, "macs": 2 * measured,
        "really_run": True, "unmeasured": [{"why": "no reason", "count": 1, "macs": measured // 2}],
    }  # fmt: skip
    sentences = " ".join(words.coverage(advice_on(tmp_path, {"torch_conv": 1}, model=model)))
    for part in ("50 %", "1 convolution, 25 %", "no reason"):
        assert part in sentences
    whole = advice_on(tmp_path / "whole", {"torch_conv": 1}, model=model | {"macs": measured})
    few = advice_on(tmp_path / "few", {"torch_conv": 1}, model=model | {"convolutions": 20})
    assert "--budget" in words.next_step(few)
    assert not any(line.startswith("Covered") for line in words.coverage(whole))


def test_convolutions_that_the_model_runs_in_another_dtype_are_counted(tmp_path: Path) -> None:
    shape = (1, 8, 8, 8)
    trace = record(nn.Conv2d(8, 8, 3, padding=1, bias=False).to(torch.bfloat16), [shape])
    text_by_dtype = {}
    for dtype in ("float32", "bfloat16"):
        there = model_metadata("a:b", [shape], trace, distinct_layers(trace, "mine"), dtype)
        found = advice_on(tmp_path / dtype, {"torch_conv": 1}, [SMALL], model=there)
        text_by_dtype[dtype] = " ".join(words.coverage(found))
    assert "1 of 1 convolutions in bfloat16" in text_by_dtype["float32"]
    assert "Other dtype" not in text_by_dtype["bfloat16"]


@pytest.mark.parametrize("model", [{}, {"name": 3}, {"unmeasured": 3}, {"unmeasured": [{}]}])
def test_an_environment_that_was_edited_hides_only_what_it_told(
    model: dict[str, object], tmp_path: Path
) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.2}, model=model)
    assert found.model is None
    assert words.next_step(found)


def test_a_section_is_there_for_runs_that_advise_alone(tmp_path: Path) -> None:
    section = advice_section(advice_on(tmp_path / "advice", {"torch_conv": 1, "separable": 0.2}))
    assert [len(table.rows) for _, table in section.tables] == [4, 2]
    assert section.note == words.RETRAINING
    environment = store.read_environment(tmp_path / "advice")
    del environment["model"]
    store.write_environment(tmp_path / "advice", environment)
    assert read_advice(RunFolder(tmp_path / "advice")) is None


def test_without_a_replacement_nobody_is_warned_of_retraining(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 1})
    assert words.RETRAINING not in words.notes(found)


@pytest.mark.parametrize("text", ["", "nothing\n1\n", "\x00\x01"])
def test_what_is_read_back_is_the_measurements_and_not_what_was_derived(
    text: str, tmp_path: Path
) -> None:
    before = advice_on(tmp_path, {"torch_conv": 1})
    (tmp_path / store.LAYERS).write_text(text)
    again = read_advice(RunFolder(tmp_path))
    assert again is not None
    assert [x.label for x in again.layers] == [x.label for x in before.layers]


@pytest.mark.parametrize("layers", [None, 3, ["x"], [LARGE.label, 3]])
def test_layers_without_a_told_order_come_as_they_were_measured(
    layers: object, tmp_path: Path
) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1}, model={"layers": layers})
    assert {x.problem for x in found.layers} == {SMALL, LARGE, GROUPED}
    first = LARGE if isinstance(layers, list) and LARGE.label in layers else SMALL
    assert found.layers[0].problem == first


def test_the_picture_has_a_bar_per_layer_whatever_the_verdict(tmp_path: Path) -> None:
    for name, times in {
        "faster": {"torch_conv": 1.0, "separable": 0.2},
        "slower": {"torch_conv": 1.0, "separable": 4.0},
        "undecided": {"torch_conv": 1.0, "separable": 0.97},
    }.items():
        noise = 0.1 if name == "undecided" else 0.002
        found = advice_on(tmp_path / name, times, noise=noise)
        picture = draw_model(found.run, found.layers, "mine")
        assert picture is not None
        [axes] = picture.figure.axes
        assert len(axes.get_yticks()) == 3


def test_a_model_of_many_layers_shows_the_costliest(tmp_path: Path) -> None:
    many = [ConvProblem(8, 8, (size, size), 3, padding=1) for size in range(8, 8 + 20)]
    rows = [
        replace(row, workload="mine", layer=f"conv{number}")
        for number, problem in enumerate(many)
        for row in synthetic_run.rows([problem], backends=("torch_conv", "separable"))
    ]
    synthetic_run.write(tmp_path, rows, synthetic_run.ENVIRONMENT)
    write_model(RunFolder(tmp_path), {})
    found = read_advice(RunFolder(tmp_path))
    assert found is not None
    picture = draw_model(found.run, found.layers, "mine")
    assert picture is not None
    names = [tick.get_text() for tick in picture.figure.axes[0].get_yticklabels()]
    assert (len(names), names[-1]) == (MOST_LAYERS, "5 further layers")


def test_the_table_of_any_model_fits_on_a_screen(tmp_path: Path) -> None:
    many = [ConvProblem(8, 8, (size, size), 3, padding=1) for size in range(8, 8 + 150)]
    rows = [
        replace(row, workload="mine", layer=f"features.stage{number}.block.convolution")
        for number, problem in enumerate(many)
        for row in synthetic_run.rows([problem], backends=("torch_conv", "separable"), passes=2)
    ]
    synthetic_run.write(tmp_path, rows, synthetic_run.ENVIRONMENT)
    write_model(RunFolder(tmp_path), {})
    found = read_advice(RunFolder(tmp_path))
    assert found is not None
    table = words.layer_table(found)
    assert len(table.rows) <= 40
    assert sum(int(row[1]) for row in table.rows[:-1]) == int(table.rows[-1][1]) == len(many)
    columns = zip(table.heads, *table.rows, strict=True)
    assert sum(2 + max(map(len, cells)) for cells in columns) <= 100


def test_nothing_is_drawn_where_nothing_can_be_replaced(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 1})
    assert draw_model(found.run, found.layers, "mine") is None
