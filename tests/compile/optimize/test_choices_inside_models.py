"""Layers get the backend that is fastest inside the model, and the model the faster version."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convsweep import Backend, ConvProblem, Weights, formatting
from convsweep.backends import registry
from convsweep.backends.base import Conv
from convsweep.models.optimize import candidates, speedup
from convsweep.models.optimize.layer_inventory import ModelInputs
from convsweep.models.optimize.layers import dispatches
from tests.support.optimized_models import Tabled, optimize, problems_of, report_of


def slowed(name: str, sleep_s: float) -> Backend:
    """Torch's own convolution, after a pause."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        honest = registry.list_backends()["torch_conv"].prepare(problem, weights)

        def conv(x: Tensor) -> Tensor:
            time.sleep(sleep_s)
            return honest(x)

        return conv

    return Backend(name, prepare, version="1")


def test_a_layer_that_is_slower_inside_the_model_stays_torchs(
    model: nn.Module, x: Tensor, tabled: Tabled, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"stem", "twice", "depthwise"}

    def times(models: object, asked: list[set[str]], *more: object) -> list[dict[str, float]]:
        assert asked[0] == names
        plain, own = dict.fromkeys(names, 2.0), dict.fromkeys(names, 1.0)
        return [plain, own | {"twice": 2.0}]

    monkeypatch.setattr(candidates, "layer_times", times)
    report = report_of(optimize(model, tabled(problems_of(model, x)), x, measure_s=10))
    assert {one.name for one in report.replaced} == names - {"twice"}
    assert [one.name for one in report.skipped] == ["twice", "twice", ""]


@pytest.mark.parametrize("times", [(3, 2, 1), (3, 1, 2), (1, 2, 3), (1, 3, 2), (2, 1, 3)])
def test_the_fastest_of_plain_folded_and_another_backend_is_taken(
    x: Tensor, tabled: Tabled, monkeypatch: pytest.MonkeyPatch, times: tuple[int, int, int]
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()

    def measured(versions: list[nn.Module], *_: object) -> list[dict[str, float]]:
        for version in versions:
            with torch.no_grad():
                version(x)
            assert not any(one.is_given_up for one in dispatches(version).values())
        plain, folded, other = times
        return [{"0": one} for one in (plain, other, folded)]

    monkeypatch.setattr(candidates, "layer_times", measured)
    optimized = optimize(net, tabled(problems_of(net, x)), x, measure_s=10)
    found = [(one.choice.backend, len(one.epilogue.norms)) for one in report_of(optimized).replaced]
    assert found == [[], [("torch_conv", 1)], [("im2col", 1)]][times.index(1)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1.0, "direct_numba 2x"), (1.9, "torch_conv 1x"), (None, "torch_conv 1x")],
)
def test_a_backend_that_computes_relu_itself_is_tried_inside_the_model(
    x: Tensor,
    tabled: Tabled,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    expected: str,
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    undecided = {"speedup": 1.0, "speedup_ci_low": 0.9, "speedup_ci_high": 1.1}
    table = tabled(dict.fromkeys(problems_of(net, x), "direct_numba"), **undecided)
    times = [{"0": 2.0}, {"0": seconds}, {"0": 1.5}]
    monkeypatch.setattr(candidates, "layer_times", lambda *_: times)
    report = report_of(optimize(net, table, x, measure_s=0 if seconds is None else 10))
    [one] = report.replaced
    assert f"{one.choice.backend} {one.choice.speedup.value:g}x" == expected


def test_times_of_layers_are_those_of_the_call(model: nn.Module, x: Tensor) -> None:
    names = {"stem", "twice"}
    [times] = speedup.layer_times([model.eval()], [names], ModelInputs.of(x), 0.0)
    assert times.keys() == names
    assert all(taken > 0 for taken in times.values())
    assert not any(module._forward_pre_hooks for module in model.modules())


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
    assert dispatches(optimized) == {}
    ratio = formatting.speedup(*report.speedup.ratio)
    assert ratio in str(report) or not report.speedup.is_judged
    with torch.inference_mode():
        assert torch.equal(optimized(x), model.eval()(x))
    assert set(dispatches(optimize(model, table, x))) == {"stem", "twice", "depthwise"}
