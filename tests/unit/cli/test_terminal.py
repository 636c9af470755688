"""Terminal text of a sweep: plan, progress, tables, skip reasons."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from convsweep import Backend
from convsweep.cli import terminal
from convsweep.cli.plan import plan
from convsweep.problems.case import cross
from convsweep.problems.grids import GRIDS
from convsweep.results.store import RunFolder
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.session import SweepResult
from convsweep.sweep.stopping import OpenComparisons
from convsweep.sweep.work_queue import Progress

CASE = cross(GRIDS["smoke"].layers()[:1], ("torch_conv",))[0]
PLAIN = Backend("torch_conv", lambda problem, weights: None)
COMPILED = replace(PLAIN, compile_s=30.0)


def shown(*progress: Progress, is_terminal: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=300)
    with terminal.progress(console) as observe:
        for now in progress:
            observe(now)
    return text.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(
    ("backend", "before", "after"),
    [
        (PLAIN, "first call of ", ""),
        (COMPILED, "compiling ", ", cached for later runs"),
        (replace(COMPILED, compiles_per_problem=True), "compiling ", ""),
    ],
)
def test_a_slow_first_call_is_shown_at_once(
    backend: Backend, before: str, after: str, is_terminal: bool
) -> None:
    text = shown(Progress(3, 9, CASE, 20.0, backend), is_terminal=is_terminal)
    assert f"{before}torch_conv on {CASE.problem.label}, cpu{after}" in text
    assert "3/9" in text
    assert ("cached" in text) == bool(after)


def test_other_progress_is_a_line_every_ten_seconds() -> None:
    assert shown(Progress(3, 9, CASE, 20.0)) == ""
    assert "9/9 measured, done" in shown(Progress(3, 9, CASE, 20.0), Progress(9, 9, CASE, 0.0))


def test_a_plan_contains_the_compile_time() -> None:
    request = read_request(Options(grid="smoke", backends=["torch_conv"], ceilings=False))
    compiled = {"torch_conv": replace(request.backends["torch_conv"], compile_s=65.0)}
    assert "compile" not in plan(request)
    assert plan(replace(request, backends=compiled)) == (
        f"{plan(request)}, up to 1 min 5 s more to compile once"
    )


SKIPPED = [
    ("jax", "skipped", "needs jax"),
    ("jax", "skipped", "needs jax"),
    ("flax", "skipped", "needs jax"),
    ("fft", "skipped", "needs a large kernel"),
    ("fft", "ok", None),
]


def test_a_skip_reason_is_one_line_for_all_its_backends() -> None:
    entirely = "skipped: jax, flax: needs jax"
    assert terminal.skip_lines(SKIPPED) == [entirely, "skipped: fft: needs a large kernel"]
    assert terminal.skip_lines(SKIPPED[-1:]) == []


def test_the_number_of_skip_lines_is_limited() -> None:
    lines = terminal.skip_lines((f"b{n}", "skipped", f"reason {n}") for n in range(14))
    assert len(lines) == 11
    assert lines[-1] == "skipped for 4 more reasons"


def test_a_layer_that_the_budget_left_out_is_named_once() -> None:
    layers = GRIDS["smoke"].layers()[:2]
    cases = cross(layers, ("torch_conv",), threads=(1, 2))
    ending = SweepResult(
        "budget", False, RunFolder(Path()), pd.DataFrame(), unmeasured=tuple(cases)
    )
    [line] = terminal.end_lines(ending)
    assert [line.count(layer.problem.label) for layer in layers] == [1, 1]


@pytest.mark.parametrize(
    ("end_reason", "options"),
    [("budget", {"--resume"}), ("all_passes", {"--resume", "--passes"}), ("converged", set())],
)
def test_the_options_that_decide_more_comparisons_are_named(
    end_reason: str, options: set[str]
) -> None:
    left = OpenComparisons(cases=1, early=0, on_the_margin=0, more_s=1.0)
    ending = SweepResult(end_reason, False, RunFolder(Path()), pd.DataFrame(), (left,))
    [line] = terminal.end_lines(ending)
    assert {*re.findall(r"--\w+", line)} == options
