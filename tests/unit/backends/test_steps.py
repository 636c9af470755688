"""Steps of the strategies: the same result as the whole, known names, times that add up."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import get_args

import pytest
import torch

import convsweep
from convsweep import Backend, ConvProblem, Weights
from convsweep.backends.registry import skip_reason
from convsweep.backends.steps import REST, StepName, Stopwatch, bias_step, pad_step, step
from convsweep.measure.inputs import make_inputs

TEXTBOOK = [
    b
    for b in convsweep.list_backends().values()
    if b.family in ("basic", "algorithms") and not b.computes_in
]
PROBLEMS = [
    ConvProblem(4, 6, (9, 10), 3, padding=1, batch_size=2, bias=True),
    ConvProblem(4, 6, (9, 10), 3, padding=(2, 0), stride=2, groups=2),
    ConvProblem(3, 5, (6, 5), 1, stride=2, bias=True),
    ConvProblem(2, 3, (5, 4, 6), 3, padding=1, bias=True),
]
WITHOUT = {"torch_conv"}


def exact_clock(ticks: Iterator[int]) -> Callable[[], float]:
    return lambda: float(next(ticks))


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.label)
@pytest.mark.parametrize("backend", TEXTBOOK, ids=lambda backend: backend.name)
def test_steps_one_by_one_are_the_whole(backend: Backend, problem: ConvProblem) -> None:
    kind = "separable" if problem.groups == 1 and not problem.is_pointwise else "dense"
    if reason := skip_reason(backend, problem, weight_kind=kind, device="cpu", dtype="float32"):
        pytest.skip(reason)
    inputs = make_inputs(problem, weight_kind=kind)
    ticks = count()
    stopwatch = Stopwatch(exact_clock(ticks))
    conv = stopwatch.prepare(backend, problem, inputs.weights)
    assert torch.equal(conv(inputs.x), backend.prepare(problem, inputs.weights)(inputs.x))
    before = next(ticks)
    seconds = stopwatch.seconds(conv, inputs.x)
    assert sum(seconds.values()) == next(ticks) - before - 2  # first reading to last one
    assert {*seconds} <= {*get_args(StepName), REST}
    assert (len(seconds) == 1) == (backend.name in WITHOUT)


def test_the_docs_explain_every_step() -> None:
    text = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text(encoding="utf-8")
    table = text.partition("## Steps")[2].partition("\n## ")[0]
    assert {*re.findall(r"`(\w+)`", table)} >= {*get_args(StepName)}


def test_loops_are_summed_and_inner_steps_count_once() -> None:
    now = 0.0

    def take(seconds: float) -> None:
        nonlocal now
        now += seconds

    def prepare(problem: ConvProblem, weights: Weights) -> convsweep.Conv:
        inner, outer = step("product")(take), step("join")

        @outer
        def twice(x: object) -> object:
            take(1)
            inner(10)
            inner(20)
            take(2)
            return x

        return lambda x: (take(100), twice(x))[1]

    stopwatch = Stopwatch(lambda: now)
    conv = stopwatch.prepare(Backend("b", prepare), PROBLEMS[0], None)
    assert stopwatch.seconds(conv, None) == {"join": 3, "product": 30, REST: 100}
    assert stopwatch.seconds(conv, None) == {"join": 3, "product": 30, REST: 100}


def test_without_a_stopwatch_a_step_is_the_function_itself() -> None:
    assert step("pad")(print) is print


def test_padding_and_bias_of_nothing_are_no_steps() -> None:
    stopwatch = Stopwatch()

    def prepare(problem: ConvProblem, weights: Weights) -> convsweep.Conv:
        padded, with_bias = pad_step([(0, 0)]), bias_step(None, axes_after=1)
        return lambda x: with_bias(padded(x))

    conv = stopwatch.prepare(Backend("b", prepare), PROBLEMS[0], None)
    x = torch.ones(1, 2, 3)
    assert conv(x) is x
    assert {*stopwatch.seconds(conv, x)} == {REST}
