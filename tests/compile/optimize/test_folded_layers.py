"""Batch norms and ReLUs that are computed by the convolution before them."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convsweep.models.optimize.gate import ValidatedLayer
from convsweep.models.optimize.layers import dispatches
from tests.support.folded_nets import (
    Net,
    asking_for_the_type_of_relu,
    for_a_few_calls,
    ignoring_what_relu_returns,
    only_relu,
    returning_the_convolution,
    same,
    usual,
    with_a_shared_convolution,
    with_a_shared_norm,
    with_a_shortcut,
    with_another_hardtanh,
    with_hardtanh,
    with_relu6,
    with_statistics_of_the_batch,
    with_two_relus,
    without_relu,
)
from tests.support.optimized_models import (
    Tabled,
    calls,
    near,
    optimize,
    problems_of,
    report_of,
)

Found = dict[str, tuple[bool, bool]]
BOTH: Found = {"conv": (True, True), "other": (True, True)}
FORWARDS: dict[str, tuple[Callable[[], Net], Found]] = {
    "usual": (partial(Net, usual), BOTH),
    "bias": (partial(Net, usual, bias=True), BOTH),
    "not affine": (partial(Net, usual, affine=False), BOTH),
    "no statistics": (
        partial(Net, usual, track_running_stats=False),
        {"other": (True, True)},
    ),
    "no ReLU": (partial(Net, without_relu), {"conv": (True, False), "other": (True, False)}),
    "no norm": (partial(Net, only_relu), {"conv": (False, True), "other": (False, True)}),
    "ReLU6": (partial(Net, with_relu6), BOTH),
    "hardtanh": (partial(Net, with_hardtanh), BOTH),
    "another hardtanh": (
        partial(Net, with_another_hardtanh),
        {"conv": (True, False), "other": (True, False)},
    ),
    "norm used twice": (
        partial(Net, ignoring_what_relu_returns),
        {"conv": (True, False), "other": (True, False)},
    ),
    "two ReLUs": (partial(Net, with_two_relus), {"conv": (True, False)}),
    "shortcut": (partial(Net, with_a_shortcut), {}),
    "shared norm": (partial(Net, with_a_shared_norm), {}),
    "shared convolution": (partial(Net, with_a_shared_convolution), {}),
    "output": (partial(Net, returning_the_convolution), {}),
    "batch": (partial(Net, with_statistics_of_the_batch), {}),
}


def folded_into(layer: ValidatedLayer) -> tuple[bool, bool]:
    """Whether it computes a batch norm, and a ReLU."""
    return bool(layer.epilogue.norms), bool(layer.epilogue.relus)


@pytest.mark.parametrize("backend", ["im2col", "torch_conv", "pointwise_numba"])
@pytest.mark.parametrize("name", FORWARDS)
def test_what_alone_follows_a_convolution_is_computed_by_it(
    x: Tensor, tabled: Tabled, name: str, backend: str
) -> None:
    torch.manual_seed(1)
    make, expected = FORWARDS[name]
    net = make().eval()
    optimized = optimize(net, tabled(dict.fromkeys(problems_of(net, x), backend)), x)
    report = report_of(optimized)
    found = {one.name: folded_into(one) for one in report.replaced}
    kept = {name: both for name, both in found.items() if any(both)}
    if backend == "im2col":
        assert kept == expected
    if backend == "torch_conv":  # a ReLU alone is no reason to replace it
        assert kept == {name: both for name, both in expected.items() if both[0]}
    with torch.inference_mode():
        assert same(optimized(x), net(x))
        assert same(optimized(x), net(x))
    assert not any(dispatch.is_given_up for dispatch in dispatches(optimized).values())
    assert [*optimized.state_dict()] == [*net.state_dict()]


@pytest.mark.parametrize("rank", [1, 3])
def test_norms_of_other_ranks_are_folded(tabled: Tabled, rank: int) -> None:
    conv, norm = [(nn.Conv1d, nn.BatchNorm1d), (), (nn.Conv3d, nn.BatchNorm3d)][rank - 1]
    net = nn.Sequential(conv(3, 4, 3), norm(4), nn.ReLU()).eval()
    x = torch.randn(2, 3, *[6] * rank)
    optimized = optimize(net, tabled(problems_of(net, x)), x)
    [layer] = report_of(optimized).replaced
    assert folded_into(layer) == (True, True)
    with torch.inference_mode():
        assert near(optimized(x), net(x))


def of_a_state(net: Net) -> None:
    net.load_state_dict({k: v * 2 if v.dim() else v for k, v in net.state_dict().items()})


def new_eps(net: Net) -> None:
    net.norm.eps = 0.5


def new_gamma(net: Net) -> None:
    net.norm.weight = nn.Parameter(torch.full((8,), 2.0), requires_grad=False)


def trained(net: Net) -> None:
    net.norm.train()
    with torch.no_grad():
        net.norm(torch.full((2, 8, 4, 4), 7.0))
    net.norm.eval()


CHANGES: dict[str, Callable[[Net], object]] = {
    "state": of_a_state,
    "eps": new_eps,
    "gamma": new_gamma,
    "training": trained,
    "mean": lambda net: net.norm.running_mean[3:4].add_(1),
    "variance": lambda net: net.last.running_var.mul_(3),
    "beta": lambda net: net.last.bias.detach().add_(1),
    "weight": lambda net: net.conv.weight.data.mul_(2),
    "reset": lambda net: net.norm.reset_running_stats(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_and_statistics_are_computed_with(
    net: Net, folded: Net, x: Tensor, change: str
) -> None:
    with torch.inference_mode():
        assert same(folded(x), net(x))
    for one in (net, folded):
        CHANGES[change](one)
    with torch.inference_mode():
        assert same(folded(x), net(x))
    assert calls(folded) == {"im2col": 4}


def test_a_replaced_norm_is_the_one_that_is_computed(net: Net, folded: Net, x: Tensor) -> None:
    for one in (net, folded):
        one.norm = nn.BatchNorm2d(8).eval()
    with torch.no_grad():
        assert same(folded(x), net(x))


def test_copies_and_pickles_fold_their_own_norms(net: Net, folded: Net, x: Tensor) -> None:
    for again in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert dispatches(again)["conv"].epilogue.norms == [again.norm]
        again.norm.running_mean.add_(1)
        with torch.inference_mode():
            assert not same(again(x), net(x))
            assert same(folded(x), net(x))
        assert calls(again) == {"im2col": 2}


@pytest.mark.parametrize("inference", [False, True])
def test_a_model_without_a_layer_that_stays_is_the_original(
    x: Tensor, tabled: Tabled, inference: bool
) -> None:
    net = Net(asking_for_the_type_of_relu).eval()
    with torch.inference_mode(inference):
        x = x.clone()
    optimized = optimize(net, tabled(dict.fromkeys(problems_of(net, x), "im2col")), x)
    assert report_of(optimized).replaced == []
    assert type(optimized.relu) is nn.ReLU
    with torch.no_grad():
        assert torch.equal(optimized(x), net(x))


def test_a_layer_that_is_not_always_called_has_no_time(x: Tensor, tabled: Tabled) -> None:
    net = Net(for_a_few_calls).eval()
    table = tabled(dict.fromkeys(problems_of(net, x), "im2col"))
    net.calls = 0
    report = report_of(optimize(net, table, x, measure_s=1))
    assert "other" in {layer.name for layer in report.skipped}


def test_what_is_traced_contains_the_norm(net: Net, folded: Net, x: Tensor) -> None:
    with torch.no_grad():
        exported = torch.export.export(folded, (x,))
        assert same(exported.module()(x), net(x))
    assert sum("batch_norm" in str(node.target) for node in exported.graph.nodes) == 2
