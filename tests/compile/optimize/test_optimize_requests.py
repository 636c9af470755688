"""Requests of `optimize`, refusals, budgets and the command."""

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import convsweep
from convsweep import ConvProblem, cli
from convsweep.models.optimize import layer_sweep
from convsweep.models.optimize import optimize as module
from convsweep.models.optimize.layer_inventory import ConvCall, ModelInputs, inventory
from convsweep.models.optimize.selection import usable
from convsweep.sweep.request import Request
from tests.support import synthetic_runs as made
from tests.support.optimized_models import (
    SHAPE,
    THREADS,
    Tabled,
    near,
    optimize,
    problems_of,
    report_of,
    rows_for,
    this_environment,
)


class Rounding(nn.Conv2d):
    """A model that gives whole numbers."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).long()


def test_wrong_requests_are_one_line_each(
    model: nn.Module, x: Tensor, tabled: Tabled, tmp_path: Path
) -> None:
    table = tabled(problems_of(model, x))
    (tmp_path / "notes.csv").write_text("my,own\n1,2\n")
    wrong = {
        "no regular file": lambda: optimize(model, tmp_path / "none", x),
        "no column": lambda: optimize(model, tmp_path / "notes.csv", x),
        "is not a time": lambda: optimize(model, "60x", x),
        "cannot take the inputs": lambda: optimize(model, table, torch.zeros(1, 4, 16, 16)),
        "no convolution": lambda: optimize(nn.Linear(3, 3), table, torch.zeros(1, 3)),
        "relative error above zero": lambda: optimize(model, table, x, max_error=0),
        "unknown backend": lambda: optimize(model, table, x, backends=["fastest"]),
        "threads=0": lambda: optimize(model, table, x, threads=0),
        "threads='2'": lambda: optimize(model, table, x, threads="2"),
        "threads=1.5": lambda: optimize(model, table, x, threads=1.5),
        "source=60": lambda: optimize(model, 60, x),
        "no such run": lambda: optimize(model, "fast", x),
        "measure_s=-1": lambda: optimize(model, table, x, measure_s=-1),
        "measure_s='1'": lambda: optimize(model, table, x, measure_s="1"),
        "backends=3": lambda: optimize(model, table, x, backends=3),
        "out=": lambda: optimize(model, table, x, out=tmp_path / "new"),
        "an empty or new folder": lambda: optimize(model, "60s", x, out=tmp_path),
        "no floating tensor": lambda: optimize(Rounding(), table, x),
        "has no backend within": lambda: optimize(model, table, x, max_error=1e-12),
        "has no row": lambda: optimize(model, tabled({}), x),
    }
    before = copy.deepcopy(model.state_dict())
    for why, call in wrong.items():
        with pytest.raises(ValueError, match=why) as raised:
            call()
        assert str(raised.value).isprintable()
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_a_budget_that_is_too_small_is_told_before_a_process_starts(
    model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("convsweep.models.optimize.layer_sweep.forkserver.start")
    with pytest.raises(ValueError, match="leave no time of 1ms"):
        optimize(model, "1ms", x)


class Counts(nn.Module):
    """Fails at one of its calls."""

    def __init__(self, fails_at: int, error: BaseException) -> None:
        super().__init__()
        self.conv, self.fails_at, self.error = nn.Conv2d(3, 4, 3), fails_at, error
        self.called = [0]

    def __deepcopy__(self, memo: object) -> "Counts":
        """Share the count with its copies."""
        own = Counts(self.fails_at, self.error)
        own.load_state_dict(self.state_dict())
        own.called = self.called
        return own

    def forward(self, x: Tensor) -> Tensor:
        self.called[0] += 1
        if self.called[0] == self.fails_at:
            raise self.error
        return self.conv(x)


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_a_model_that_ends_the_program_at_any_call_is_refused(
    x: Tensor, tabled: Tabled, error: BaseException
) -> None:
    table = tabled({ConvProblem(3, 4, SHAPE[2:], 3, batch_size=2, bias=True): "im2col"})
    refusals = []
    for fails_at in range(1, 9):
        try:
            optimize(Counts(fails_at, error), table, x, measure_s=0.001)
        except ValueError as refused:
            refusals.append(str(refused))
    assert len(refusals) >= 6  # but for the call in float64
    assert all(type(error).__name__ in text for text in refusals)


def test_a_budget_measures_the_layers_in_processes_of_their_own(
    x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.sweep.request.MAX_PASSES", 3)  # ends long before the budget
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    out = tmp_path / "kept"
    seen: list[int] = []
    watching = lambda: nullcontext(lambda progress: seen.append(progress.done))  # noqa: E731
    optimized = optimize(model, "300s", x, backends="im2col", out=out, watching=watching)
    assert seen
    with torch.inference_mode():
        assert near(optimized(x), model(x))
    rows = convsweep.load(out)
    assert set(rows["backend"]) == {"im2col", "torch_conv"}
    assert set(rows["threads"]) == {THREADS}
    report = report_of(optimized)
    assert sum(one.calls for one in (*report.replaced, *report.skipped)) == 1


SHORT = {16: (4, 2), 15: (3, 2), 11: (3, 1), 5: (2, 1), 1: (1, 1)}
"""By the cases that there is time for: distinct layers, and memory formats."""


@pytest.mark.parametrize("most", SHORT)
def test_a_short_time_is_for_the_layers_that_take_longest(
    model: nn.Module, x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    seen: list[Request] = []
    monkeypatch.setattr(layer_sweep.forkserver, "start", lambda: None)
    monkeypatch.setattr(layer_sweep, "LocalExecutor", seen.append)
    monkeypatch.setattr(
        layer_sweep, "run_sweep", lambda *_, **more: SimpleNamespace(interrupted=False)
    )
    monkeypatch.setattr(layer_sweep, "request_s", lambda one, *_: 1e6 * (len(one.cases) > most))
    found = inventory(model.eval(), ModelInputs.of(x)).calls
    formats, taken_s = ["channels_last"], {"depthwise": 0.1, "stem": 1.0, "twice": 10.0}
    layer_sweep.sweep_layers(
        found, "Small", usable(["im2col"]), monotonic() + 300, THREADS, tmp_path,
        memory_formats=formats, taken_s=taken_s,
    )  # fmt: skip
    [request] = seen
    problems = dict.fromkeys(case.problem for case in request.cases)
    assert (len(problems), len({case.memory_format for case in request.cases})) == SHORT[most]
    names = ["twice", "twice", "stem", "depthwise"]
    assert {one.name for one in found if one.problem in problems} == {*names[: len(problems)]}


def test_batch_norms_are_folded_if_the_time_is_too_short_to_measure(
    x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **more: object) -> None:
        raise ValueError("too short")

    monkeypatch.setattr(module, "sweep_layers", refusing)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).eval()
    report = report_of(optimize(net, "300s", x))
    assert [(one.name, len(one.epilogue.norms)) for one in report.replaced] == [("0", 1)]
    assert "(too short)" in report.skipped[0].reason
    assert "too short to measure 2 convolutions:" in str(report)


@pytest.mark.parametrize("measured", [1, 2])
def test_layers_that_the_time_was_too_short_for_are_counted(
    x: Tensor, monkeypatch: pytest.MonkeyPatch, measured: int
) -> None:
    def sweep(calls: Mapping[ConvCall, int], *more: object) -> None:
        problems = [call.problem for call in calls][:measured]
        rows = rows_for(dict.fromkeys(problems, "im2col"))
        made.write(Path(str(more[4])), rows, this_environment())

    monkeypatch.setattr(module, "sweep_layers", sweep)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)).eval()
    text = str(report_of(optimize(net, "300s", x)))
    assert ("too short to measure 1 convolution:" in text) == (measured == 1)


def test_the_package_has_it() -> None:
    assert convsweep.optimize.__module__ == "convsweep.models.optimize.optimize"


FACTORY = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n"


def run_command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_command_tells_the_report(
    tmp_path: Path, tabled: Tabled, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    spec = f"{tmp_path / 'nets.py'}:net"
    problem = ConvProblem(3, 4, (8, 8), 3, bias=True)
    words = ("optimize", spec, "--input", "1,3,8,8", "--from")
    code, out, _ = run_command(capsys, *words, tabled({problem: "torch_conv"}))
    assert code == 0
    assert "0 of 1 convolution" in out
    assert "torch_conv is the fastest" in out
    wrong = {"--max-error": "0", "--budget": "3s", "--threads": "0", "--out": tmp_path / "new"}
    for more in wrong.items():
        code, out, err = run_command(capsys, *words, tabled({problem: "im2col"}), *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert more[0].strip("-") in err
    for text in ("fast", tmp_path, "", "0s"):
        code, out, err = run_command(capsys, *words[:-1], "--budget", text)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--budget" in err
