"""The whole model on other engines, and the memory format of the copy."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convsweep import Backend
from convsweep.models.optimize import engines
from convsweep.models.optimize.candidates import candidates, convert_inside, undo_conversion
from convsweep.models.optimize.engines import OPTIMIZED, Engine
from convsweep.models.optimize.layer_inventory import ModelInputs
from tests.support.optimized_models import (
    Tabled,
    near,
    optimize,
    problems_of,
    report_of,
    scaled,
)


def faked(off: float) -> Engine:
    """PyTorch, with an output that is `off` times as large as it should be."""
    return Engine(lambda model, inputs, threads: lambda: inputs.pass_to(model) * off)


def failing(model: nn.Module, inputs: ModelInputs, threads: int) -> Callable[[], object]:
    raise SystemExit("no\nluck")


def test_engines_are_checked_timed_and_sorted(
    model: nn.Module,
    x: Tensor,
    tabled: Tabled,
    registered: Callable[[Backend], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered(scaled(1.0, "guest", modules=("nosuchpackage",), extra="kernels"))
    every = {
        "right": faked(1.0),
        "wrong": faked(1.1),
        "failing": Engine(failing),
        "missing": Engine(failing, "guest"),
    }
    monkeypatch.setattr(engines, "ENGINES", every)
    optimized = optimize(model, tabled(problems_of(model, x)), x, measure_s=0.01, compare=True)
    report = report_of(optimized)
    timed = [one for one in report.engines if not one.reason]
    assert {one.engine for one in timed} == {OPTIMIZED, "right"}
    times = [one.seconds.value for one in timed]
    assert times == sorted(times)
    assert timed[0].ratio == (1, 1, 1)
    assert all(one.error < engines.TOLERANCE for one in timed)
    reasons = {one.engine: one.reason for one in report.engines if one.reason}
    assert "off by 1.0e-01" in reasons["wrong"]
    assert reasons["failing"] == "SystemExit: no luck"
    assert "nosuchpackage" in reasons["missing"]
    assert all(reason in str(report) for reason in reasons.values())
    named = f"The fastest is {timed[0].engine}."
    idle, busy = (
        replace(report, engines=[one._replace(core_share=share) for one in report.engines])
        for share in (1.0, 0.5)
    )
    assert named in str(idle)
    assert named not in str(busy)


@pytest.mark.parametrize(("off", "has_time"), [(1.0, True), (1.1, False)])
def test_a_model_without_a_faster_layer_is_compared_too(
    model: nn.Module,
    x: Tensor,
    tabled: Tabled,
    monkeypatch: pytest.MonkeyPatch,
    off: float,
    has_time: bool,
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"only": faked(off)})
    table = tabled(dict.fromkeys(problems_of(model, x), "torch_conv"))
    [found] = report_of(optimize(model, table, x, measure_s=0.01, compare=True)).engines
    assert (found.engine, not found.reason) == ("only", has_time)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", engines.ENGINES)
def test_every_engine_runs_a_whole_model(x: Tensor, name: str) -> None:
    engine = engines.ENGINES[name]
    if engine.backend != "torch_conv":
        pytest.importorskip(engine.backend.replace("torch_compile", "torch"))
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()).eval()
    with torch.no_grad():
        found = engine.start(model, ModelInputs.of(x), 1)()
        [y] = found if isinstance(found, list) else [found]
        assert near(y, model(x))


def test_a_model_computes_in_channels_last_inside(x: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    own, seen = copy.deepcopy(model), list[bool]()
    convert_inside(own)
    own[0].register_forward_hook(
        lambda module, args, y: seen.append(y.is_contiguous(memory_format=torch.channels_last))
    )
    with torch.no_grad():
        y = own(x)
        assert y.is_contiguous()
        assert near(y, model(x))
        assert seen == [True]
        again = copy.deepcopy(own)
        undo_conversion(again)
        again(x)
    assert seen == [True, False]
    assert not again._forward_pre_hooks
    assert not again._forward_hooks


def test_the_conversion_is_copied_and_pickled(x: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    convert_inside(model)
    again = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        assert near(again(x), model(x))
    assert len(again._forward_pre_hooks) == len(again._forward_hooks) == 1


def test_a_copy_per_memory_format_is_a_candidate(x: Tensor) -> None:
    make = partial(nn.Sequential, nn.Conv2d(3, 8, 3))
    rows = x.contiguous(memory_format=torch.channels_last)
    for given, every, converted in (
        (x, True, [False, True]),
        (rows, True, [False]),
        (x, False, [False]),
    ):
        found = candidates(make(), ModelInputs.of(given), every)
        assert [one.converts for one in found] == converted
    line = candidates(nn.Sequential(nn.Conv1d(3, 4, 3)), ModelInputs.of(x[:, :, 0]), True)
    assert len(line) == 1


def test_compare_is_a_flag(model: nn.Module, x: Tensor, tabled: Tabled) -> None:
    with pytest.raises(ValueError, match="compare=1"):
        optimize(model, tabled(problems_of(model, x)), x, compare=1)
