"""A copy of a model on other backends: as exact as the original, which stays as it is."""

import copy
import io
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d

import convsweep
from convsweep import Backend, ConvProblem, Weights, cli, formatting
from convsweep.analysis.best_backend import read_best_backends
from convsweep.backends import registry
from convsweep.backends.base import Conv
from convsweep.models.optimize import speedup
from convsweep.models.optimize.geometry import geometry
from convsweep.models.optimize.layers import dispatches, this_machine
from convsweep.models.optimize.report import OptimizeReport
from convsweep.results.best_csv import BEST_COLUMNS, MACHINE, write_best
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support.strategies import conv_problems

Write = Tabled = Callable[..., Path]
THREADS = 1


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def this_environment() -> dict[str, object]:
    environment: dict[str, dict[str, str]] = {"machine": {}, "versions": {}}
    for (name, part), value in zip(MACHINE.items(), this_machine(), strict=True):
        environment[part][name] = value
    return made.ENVIRONMENT | environment


def rows_for(problems: Mapping[ConvProblem, str], passes: int = 5, **changes: object) -> list[Row]:
    """Rows in which the named backend takes half of torch's time."""
    rows = [
        row
        for problem, name in problems.items()
        for row in made.rows(
            [problem],
            backends=dict.fromkeys((name, "torch_conv")),
            passes=passes,
            seconds=lambda p, b, d: 1e-3 if b == "torch_conv" else 5e-4,
            judge=lambda p, b, s: ("ok", None),
        )
    ]
    known = registry.list_backends()
    return [
        replace(
            row,
            backend_version=known[row.backend].version or None,
            threads=THREADS,
            weight_kind="dense",
            relative_err=1e-7,
            **changes,
        )
        for row in rows
    ]


def table_for(problems: Mapping[ConvProblem, str], **changes: object) -> pd.DataFrame:
    """A best.csv of this machine in which the named backend takes half of torch's time."""
    known = registry.list_backends()
    rows = [
        dict.fromkeys(BEST_COLUMNS)
        | dict(zip(MACHINE, this_machine(), strict=True))
        | {"problem": problem.label, "device": "cpu", "dtype": "float32", "threads": THREADS,
           "memory_format": "contiguous", "cache": "hot", "driver": "convsweep",
           "backend": name, "backend_version": known[name].version, "median_s": 5e-4,
           "baseline": "torch_conv", "speedup": 2.0, "speedup_ci_low": 1.9,
           "speedup_ci_high": 2.1, "relative_err": 1e-7}
        | changes
        for problem, name in problems.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(BEST_COLUMNS))


@pytest.fixture
def tabled(tmp_path: Path) -> Tabled:
    """Write a table of this machine."""

    def write(problems: Mapping[ConvProblem, str], **changes: object) -> Path:
        folder = tmp_path / f"table{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return write_best(folder, table_for(problems, **changes))

    return write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a run of this machine."""

    def write(rows: list[Row], environment: dict[str, object] | None = None) -> Path:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        return made.write(folder, rows, environment or this_environment())

    return write


class Small(nn.Module):
    """A stem, a module that is called on two sizes, a depthwise layer, and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(4, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.stem(x)).relu_()
        x = self.twice(nn.functional.max_pool2d(x, 2))
        return conv2d(self.norm(self.depthwise(x)), self.weight).mean((2, 3))


SHAPE = (2, 3, 16, 16)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return Small()


def problems_of(model: nn.Module, x: Tensor) -> dict[ConvProblem, str]:
    """Every problem of the model's modules, to be computed by im2col."""
    found: dict[ConvProblem, str] = {}

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        own = geometry(module, inputs[0])
        if own is not None:
            found[own.problem] = "im2col"

    hooks = [
        m.register_forward_pre_hook(note)
        for m in model.modules()
        if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    with torch.no_grad():
        copy.deepcopy(model).eval()(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.fixture
def x() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def optimize(model: nn.Module, source: object, x: object, **how: object) -> nn.Module:
    return convsweep.optimize(model, source, inputs=x, **{"measure_s": 0, **how})


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def optimized(model: nn.Module, x: Tensor, tabled: Tabled) -> nn.Module:
    return optimize(model, tabled(problems_of(model, x)), x)


def report_of(optimized: nn.Module) -> OptimizeReport:
    assert isinstance(optimized.convsweep_report, OptimizeReport)
    return optimized.convsweep_report


def calls(optimized: nn.Module) -> dict[str, int]:
    """What has run, over all layers."""
    found: dict[str, int] = {}
    for dispatch in dispatches(optimized).values():
        for name, count in dispatch.calls.items():
            found[name] = found.get(name, 0) + count
    return found


def test_every_plain_module_runs_on_the_fastest_and_gives_the_same(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    with torch.inference_mode():
        assert near(optimized(x), model.eval()(x))
    assert calls(optimized) == {"im2col": 4}
    report = report_of(optimized)
    assert [(one.name, one.calls) for one in report.replaced] == [
        ("stem", 1), ("twice", 1), ("twice", 1), ("depthwise", 1),
    ]  # fmt: skip
    assert [(one.name, one.reason) for one in report.skipped] == [
        ("", "is called as a function, not as a module")
    ]
    assert report.error is not None
    assert report.error.passes
    assert all(one.error.error_ratio <= one.error.bound for one in report.replaced)
    assert report.saving_s == pytest.approx(4 * 5e-4, rel=0.2)
    head, *rows = str(report).splitlines()[: len(report.replaced) + 2]
    assert max(map(len, [head, *rows])) <= 100
    assert all(formatting.seconds(one.saving_s) in "".join(rows) for one in report.replaced)
    assert formatting.seconds(report.saving_s) in rows[-1]


def test_the_original_stays_as_it_was(model: nn.Module, x: Tensor, tabled: Tabled) -> None:
    model.train()
    before, kinds = copy.deepcopy(model.state_dict()), [*map(type, model.modules())]
    state, given = torch.random.get_rng_state(), x.clone()
    optimize(model, tabled(problems_of(model, x)), x, measure_s=0.01)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert [*map(type, model.modules())] == kinds
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(x, given)
    assert torch.get_num_threads() == THREADS


def test_parameters_keep_their_names_and_new_ones_are_computed_with(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    assert list(optimized.state_dict()) == list(model.state_dict())
    other = {name: value * 1.5 for name, value in model.state_dict().items()}
    optimized.load_state_dict(other)
    model.load_state_dict(other)
    with torch.inference_mode():
        assert near(optimized(x), model.eval()(x))
    assert calls(optimized) == {"im2col": 4}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(problem=conv_problems(), data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_layer_that_is_replaced_gives_what_it_gave(
    problem: ConvProblem, data: st.DataObject, tabled: Tabled
) -> None:
    modes = ["zeros", "circular", "replicate"]
    small = min(problem.input_size) > max(problem.padding)
    mode = data.draw(st.sampled_from(modes if small else modes[:1]))
    same = data.draw(st.booleans()) and set(problem.stride) == {1}
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[problem.rank - 1](
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,
        problem.stride,
        "same" if same and mode == "zeros" else problem.padding,
        problem.dilation,
        problem.groups,
        problem.bias,
        padding_mode=mode,
    )
    model, x = nn.Sequential(layer, nn.ReLU(inplace=True)), torch.randn(problem.input_shape)
    optimized = optimize(model, tabled(problems_of(model, x)), x)
    with torch.inference_mode():
        assert near(optimized(x), model(x))
        other = torch.randn_like(x)
        assert near(optimized(other), model(other))
    assert calls(optimized) == {"im2col": 2}, report_of(optimized)


def test_training_and_gradients_are_torchs(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    optimized(x).sum().backward()
    model.eval()(x).sum().backward()
    for ours, theirs in zip(optimized.parameters(), model.parameters(), strict=True):
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
    assert calls(optimized) == {"torch: gradients are recorded": 4}
    optimized.train()
    with torch.no_grad():
        optimized(x)
    assert calls(optimized)["torch: training"] == 4


OTHERS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "another input": lambda model, x: model(x[:1]),
    "another number of threads": lambda model, x: on_other_threads(model, x),
    "another memory format": lambda model, x: model(x.to(memory_format=torch.channels_last)),
    "autocast": lambda model, x: autocast(model, x),
}


def on_other_threads(model: nn.Module, x: Tensor) -> Tensor:
    torch.set_num_threads(THREADS + 1)
    try:
        return model(x)
    finally:
        torch.set_num_threads(THREADS)


def autocast(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(x)


@pytest.mark.parametrize("why", OTHERS)
def test_what_was_not_measured_is_torchs(
    model: nn.Module, optimized: nn.Module, x: Tensor, why: str
) -> None:
    with torch.no_grad():
        assert near(OTHERS[why](optimized, x), OTHERS[why](model.eval(), x))
    assert calls(optimized)[f"torch: {why}"] >= 1
    assert "im2col" not in calls(optimized) or why == "another memory format"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_traced_is_torchs(optimized: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        graph = str(torch.jit.trace(optimized, x, check_trace=False).inlined_graph)
        assert near(torch.export.export(optimized, (x,)).module()(x), optimized(x))
    assert graph.count("aten::_convolution") == 5
    assert calls(optimized) == {"im2col": 4}


def test_another_dtype_is_torchs(model: nn.Module, optimized: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(optimized.double()(x.double()), model.eval().double()(x.double()))
    assert calls(optimized) == {"torch: another input": 4}


def test_a_copy_and_a_pickle_run_on_the_same_backends(optimized: nn.Module, x: Tensor) -> None:
    file = io.BytesIO()
    torch.save(optimized, file)
    file.seek(0)
    for again in (
        copy.deepcopy(optimized),
        pickle.loads(pickle.dumps(optimized)),
        torch.load(file, weights_only=False),
    ):
        with torch.inference_mode():
            assert torch.equal(again(x), optimized(x))
        assert calls(again) == {"im2col": 4}
        assert str(report_of(again)) == str(report_of(optimized))


def test_a_pickle_of_another_machine_is_refused(
    optimized: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pickle.dumps(optimized)
    elsewhere = lambda: ("another CPU", *this_machine()[1:])  # noqa: E731
    monkeypatch.setattr("convsweep.models.optimize.layers.this_machine", elsewhere)
    with pytest.raises(ValueError, match="was optimized for"):
        pickle.loads(text)


def scaled(off: float, name: str = "scaled", **more: object) -> Backend:
    """A backend whose answers are `off` times as large as they should be."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        honest = registry.list_backends()["torch_conv"].prepare(problem, weights)
        return lambda x: honest(x) * off

    return Backend(name, prepare, version="1", **more)  # type: ignore[arg-type]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Backend], None]:
    return lambda backend: monkeypatch.setitem(registry.list_backends(), backend.name, backend)


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
            one.reason.endswith("was not measured on cpu, float32, contiguous, 1 thread")
            for one in report.skipped
        )
        == 4
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


class Narrowing(nn.Module):
    """A model that can't run in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.float()).relu())


def test_a_model_that_is_not_for_float64_is_held_to_itself(x: Tensor, tabled: Tabled) -> None:
    model = Narrowing()
    optimized = optimize(model, tabled(problems_of(model, x)), x, measure_s=0.01)
    report = report_of(optimized)
    assert len(report.replaced) == 2
    assert report.error is not None
    assert report.error.optimized <= report.error.allowed < 1e-3
    assert report.error.float64_failure
    with torch.inference_mode():
        assert near(optimized(x), model(x))


def test_an_optimized_model_is_optimized_from_its_original(
    model: nn.Module, optimized: nn.Module, x: Tensor, tabled: Tabled
) -> None:
    table = tabled(problems_of(model, x))
    again = optimize(optimized, table, x)
    first, second = report_of(optimized), report_of(again)
    assert (second.replaced, second.skipped) == (first.replaced, first.skipped)
    assert second.error == first.error
    assert dispatches(optimized)
    none = optimize(optimized, tabled(dict.fromkeys(problems_of(model, x), "torch_conv")), x)
    assert [*map(type, none.modules())] == [*map(type, model.modules())]


def test_one_backend_may_be_named_by_itself(model: nn.Module, x: Tensor, tabled: Tabled) -> None:
    table = tabled(problems_of(model, x))
    assert len(report_of(optimize(model, table, x, backends="im2col")).replaced) == 4


def test_a_budget_that_is_too_small_is_told_before_a_process_starts(
    model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("convsweep.models.optimize.layer_sweep.forkserver.start")
    with pytest.raises(ValueError, match="leave no time of 1ms"):
        optimize(model, "1ms", x)


def slowed(name: str, sleep_s: float) -> Backend:
    """Torch's own convolution, after a pause."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        honest = registry.list_backends()["torch_conv"].prepare(problem, weights)

        def conv(x: Tensor) -> Tensor:
            time.sleep(sleep_s)
            return honest(x)

        return conv

    return Backend(name, prepare, version="1")


@pytest.mark.parametrize("least_share", [0.0, 2.0], ids=["idle", "busy"])
def test_the_original_is_returned_unless_the_whole_is_faster(
    model: nn.Module,
    x: Tensor,
    tabled: Tabled,
    registered: Callable[[Backend], None],
    monkeypatch: pytest.MonkeyPatch,
    least_share: float,
) -> None:
    monkeypatch.setattr(speedup, "LEAST_CORE_SHARE", least_share)
    registered(slowed("sleepy", 2e-3))
    table = tabled(dict.fromkeys(problems_of(model, x), "sleepy"))
    optimized = optimize(model, table, x, measure_s=0.01)
    report = report_of(optimized)
    assert report.speedup is not None
    assert report.speedup.ratio.low < report.speedup.ratio.value < report.speedup.ratio.high
    assert report.speedup.is_judged == (least_share == 0)
    assert report.speedup.verdict != "faster"
    assert report.is_original
    assert dispatches(optimized) == {}
    ratio = formatting.speedup(*report.speedup.ratio)
    assert ratio in str(report) or not report.speedup.is_judged
    with torch.inference_mode():
        assert torch.equal(optimized(x), model.eval()(x))
    assert set(dispatches(optimize(model, table, x))) == {"stem", "twice", "depthwise"}


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


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_is_optimized_as_it_was_written(
    model: nn.Module, x: Tensor, tabled: Tabled
) -> None:
    table = tabled(problems_of(model, x))
    compiled = nn.Sequential(torch.compile(model, backend="eager"))
    assert set(dispatches(optimize(compiled, table, x))) == {"0.stem", "0.twice", "0.depthwise"}
    assert set(dispatches(optimize(compiled[0], table, x))) == {"stem", "twice", "depthwise"}
    assert type(compiled[0]) is not Small


def test_a_lazy_model_is_optimized(x: Tensor, tabled: Tabled) -> None:
    table = tabled({ConvProblem(3, 4, SHAPE[2:], 3, batch_size=2, bias=True): "im2col"})
    lazy = nn.Sequential(nn.LazyConv2d(4, 3))
    assert set(dispatches(optimize(lazy, table, x))) == {"0"}


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
