"""Which backends an optimized model runs on: measured, right, and surely faster."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from convsweep import Backend, ConvProblem, Weights
from convsweep.analysis.best_backend import read_best_backends
from convsweep.backends import registry
from convsweep.backends.base import Conv
from convsweep.models.optimize.layers import dispatches
from convsweep.results.best_csv import MACHINE, write_best
from tests.support.optimized_models import (
    THREADS,
    Narrowing,
    Small,
    Tabled,
    Write,
    near,
    optimize,
    problems_of,
    report_of,
    rows_for,
    scaled,
    this_environment,
)


def test_a_wrong_backend_is_not_used(
    model: nn.Module, x: Tensor, tabled: Tabled, registered: Callable[[Backend], None]
) -> None:
    registered(scaled(1.001))
    table = tabled(dict.fromkeys(problems_of(model, x), "scaled"))
    optimized = optimize(model, table, x)
    with torch.no_grad():
        assert torch.equal(optimized(x), model.eval()(x))
    assert not dispatches(optimized)
    report = report_of(optimized)
    assert not report.replaced
    assert sum("scaled is wrong on its input" in one.reason for one in report.skipped) == 4
    assert [type(m) for m in optimized.modules()] == [type(m) for m in model.modules()]


def turncoat() -> Backend:
    """A backend that is right when the gate looks, and wrong within the model."""
    made_so_far: list[int] = []

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        made_so_far.append(1)  # the gate prepares once, the model a second time
        honest = registry.list_backends()["torch_conv"].prepare(problem, weights)
        worse = len(made_so_far) > 1
        return lambda x: honest(x) * (1.5 if worse else 1.0)

    return Backend("turncoat", prepare, version="1")


@pytest.mark.parametrize("kind", ["Small", "Narrowing"])
def test_what_is_right_alone_and_wrong_in_the_whole_is_taken_out(
    x: Tensor, tabled: Tabled, registered: Callable[[Backend], None], kind: str
) -> None:
    model = {"Small": Small, "Narrowing": Narrowing}[kind]()
    registered(turncoat())
    problems = problems_of(model, x)
    stem = next(iter(problems))
    optimized = optimize(model, tabled(problems | {stem: "turncoat"}), x)
    with torch.inference_mode():
        assert near(optimized(x), model.eval()(x))
    why = {one.name: one.reason for one in report_of(optimized).skipped}
    assert "the whole model is off by" in why[next(iter(dict(model.named_children())))]


def test_a_limit_holds_on_the_real_input_too(
    model: nn.Module, x: Tensor, tabled: Tabled, registered: Callable[[Backend], None]
) -> None:
    registered(scaled(1.0001, error_bound=lambda problem: 1e9))
    table = tabled(dict.fromkeys(problems_of(model, x), "scaled"))
    report = report_of(optimize(model, table, x, max_error=1e-5))
    assert not report.replaced
    assert sum("above 1e-05" in one.reason for one in report.skipped) == 4


BACKENDS_LEFT = {
    "brings threads of its own": {"own_threads": True},
    "needs a weight that factors": {"needs_factors": True},
    "not installed here": {"modules": ("nosuchpackage",), "extra": "kernels"},
}


@pytest.mark.parametrize("why", BACKENDS_LEFT)
def test_what_can_not_live_in_the_process_is_not_used(
    model: nn.Module,
    x: Tensor,
    tabled: Tabled,
    registered: Callable[[Backend], None],
    why: str,
) -> None:
    registered(scaled(1.0, "guest", **BACKENDS_LEFT[why]))
    table = tabled(dict.fromkeys(problems_of(model, x), "guest"))
    report = report_of(optimize(model, table, x))
    assert not report.replaced
    assert sum(why in one.reason for one in report.skipped) == 4
    if "own_threads" in BACKENDS_LEFT[why]:
        asked = report_of(optimize(model, table, x, backends=["guest"]))
        assert sum(one.calls for one in asked.replaced) == 4


def test_what_is_not_surely_faster_stays_torchs(model: nn.Module, x: Tensor, write: Write) -> None:
    report = report_of(optimize(model, write(rows_for(problems_of(model, x), passes=1)), x))
    assert not report.replaced
    assert sum("significantly faster" in one.reason for one in report.skipped) == 4


class Own(nn.Conv2d):
    """A convolution that does more."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def test_subclasses_and_computed_weights_stay_torchs(x: Tensor, tabled: Tabled) -> None:
    model = nn.Sequential(
        Own(3, 4, 1),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
        nn.ConvTranspose2d(4, 4, 2),
        nn.Conv2d(4, 4, 1),
    )
    optimized = optimize(model, tabled(problems_of(model, x)), x)
    with torch.inference_mode():
        assert near(optimized(x), model(x))
    report = report_of(optimized)
    assert [one.name for one in report.replaced] == ["3"]
    why = {one.name: one.reason for one in report.skipped}
    assert "is a Own" in why["0"]
    assert "Parametrized" in why["1"]
    assert "transposed" in why["2"]


def test_a_best_csv_is_as_good_as_its_run(model: nn.Module, x: Tensor, write: Write) -> None:
    run_dir = write(rows_for(problems_of(model, x)))
    path = write_best(run_dir, read_best_backends(run_dir).table)
    optimized = optimize(model, path, x)
    assert sum(one.calls for one in report_of(optimized).replaced) == 4


def edited(part: str, name: str, value: str) -> dict[str, object]:
    environment = this_environment()
    return environment | {part: {**environment[part], name: value}}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", MACHINE)
def test_a_table_of_another_machine_is_refused_unless_told_so(
    model: nn.Module, x: Tensor, write: Write, name: str
) -> None:
    rows = rows_for(problems_of(model, x))
    table = write(rows, edited(MACHINE[name], name, "another"))
    with pytest.raises(ValueError, match=f"{name} is another there") as raised:
        optimize(model, table, x)
    assert str(raised.value).isprintable()
    assert report_of(optimize(model, table, x, across_machines=True)).replaced


def test_a_table_of_another_backend_is_refused_unless_told_so(
    model: nn.Module, x: Tensor, write: Write
) -> None:
    rows = rows_for(problems_of(model, x))
    table = write([replace(row, backend_version="0.0.1") for row in rows])
    with pytest.raises(ValueError, match=r"is 0\.0\.1 there"):
        optimize(model, table, x)
    assert report_of(optimize(model, table, x, across_machines=True)).replaced


def test_a_table_of_other_threads_replaces_nothing(
    model: nn.Module, x: Tensor, write: Write
) -> None:
    rows = rows_for(problems_of(model, x))
    table = write([replace(row, threads=THREADS + 1) for row in rows])
    report = report_of(optimize(model, table, x))
    assert not report.replaced
    assert (
        sum(
            one.reason.endswith("not measured on cpu, float32, contiguous, 1 thread")
            for one in report.skipped
        )
        == 4
    )


def test_what_was_measured_and_not_right_is_told_apart(
    model: nn.Module, x: Tensor, write: Write
) -> None:
    stem, *others = rows_by_problem = problems_of(model, x)
    rows = [
        replace(row, status="mismatch", median_s=None) if row.problem == stem.label else row
        for row in rows_for(rows_by_problem)
    ]
    why = {one.name: one.reason for one in report_of(optimize(model, write(rows), x)).skipped}
    assert others
    assert "on cpu, float32, contiguous, 1 thread: im2col mismatch" in why["stem"]


def test_one_backend_may_be_named_by_itself(model: nn.Module, x: Tensor, tabled: Tabled) -> None:
    table = tabled(problems_of(model, x))
    assert len(report_of(optimize(model, table, x, backends="im2col")).replaced) == 4
