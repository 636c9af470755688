"""Batch norms and ReLUs that are computed by the convolution before them."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsweep.models.optimize.layers import dispatches
from tests.support.optimized_models import (
    THREADS,
    Tabled,
    calls,
    near,
    optimize,
    problems_of,
    report_of,
)

Forward = Callable[["Net", Tensor], object]


class Net(nn.Module):
    """Two convolutions with batch norm and ReLU, called by a function."""

    def __init__(self, forward: Forward, *, bias: bool = False, **norm: object) -> None:
        super().__init__()
        self.function, self.extra = forward, False
        self.conv, self.other = nn.Conv2d(3, 8, 3, bias=bias), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8, **norm), nn.BatchNorm2d(8, eps=1e-2)
        self.relu = nn.ReLU(inplace=True)
        drawn = torch.Generator().manual_seed(3)
        for part in (self.norm, self.last):
            for value in part.state_dict().values():
                if value.dim():
                    value.copy_(torch.rand(8, generator=drawn) + 0.5)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def usual(net: Net, x: Tensor) -> Tensor:
    x = net.relu(net.norm(net.conv(x)))
    return functional.relu(net.last(net.other(x)))


def without_relu(net: Net, x: Tensor) -> Tensor:
    return net.last(net.other(net.norm(net.conv(x)))).sigmoid()


def only_relu(net: Net, x: Tensor) -> Tensor:
    return torch.relu(net.other(net.conv(x).relu_()))


def ignoring_what_relu_returns(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    net.relu(y)
    return y + net.last(net.other(y))


def with_two_relus(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    return y.relu() + y.relu().mul_(2)


def with_a_shortcut(net: Net, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.relu(y + net.norm(y))


def with_a_shared_norm(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.other(net.norm(net.conv(x))))


def with_a_shared_convolution(net: Net, x: Tensor) -> Tensor:
    return net.last(net.other(net.norm(net.other(net.conv(x)))))


def returning_the_convolution(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    y = net.conv(x)
    return y, net.norm(y)


def with_statistics_of_the_batch(net: Net, x: Tensor) -> Tensor:
    y, norm = net.conv(x), net.norm
    return functional.batch_norm(y, norm.running_mean, norm.running_var, training=True)


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


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    return Net(usual).eval()


@pytest.fixture
def folded(net: Net, x: Tensor, tabled: Tabled) -> nn.Module:
    return optimize(net, tabled(problems_of(net, x)), x)


def same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(map(same, one, other))
    return type(one) is Tensor and isinstance(other, Tensor) and near(one, other)


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
    found = {one.name: (one.has_norm, one.has_relu) for one in report.replaced}
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
    assert layer.has_norm
    assert layer.has_relu
    with torch.inference_mode():
        assert near(optimized(x), net(x))


@pytest.fixture
def chain(x: Tensor, tabled: Tabled) -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    return net, optimize(net, tabled(problems_of(net, x)), x)


def test_a_chain_skips_what_the_convolution_has_computed(
    chain: tuple[nn.Sequential, nn.Sequential], x: Tensor
) -> None:
    net, optimized = chain
    for module in optimized[1:3]:
        module.forward = None
    with torch.inference_mode():
        assert same(optimized(x), net(x))
    assert same(optimized[0](x).relu().sum(), net[0](x).relu().sum())


def replacing(net: nn.Sequential) -> None:
    net[1] = nn.BatchNorm2d(8, eps=1.0).eval()


WATCHING: dict[str, Callable[[nn.Sequential], object]] = {
    "another norm": replacing,
    "another order": lambda net: net.insert(1, nn.Sigmoid()),
    "shorter": lambda net: net.__delitem__(2),
    "training": lambda net: net[1].train(),
    "ReLU": lambda net: net[2].register_forward_hook(lambda module, args, y: y + 1),
    "norm": lambda net: net[1].register_forward_hook(lambda module, args, y: y + 1),
    "convolution": lambda net: net[0].register_forward_hook(lambda module, args, y: y + 1),
    "before": lambda net: net[2].register_forward_pre_hook(lambda module, args: args[0] + 1),
}


@pytest.mark.parametrize("change", WATCHING)
def test_a_changed_or_watched_chain_runs_each_module(
    chain: tuple[nn.Sequential, nn.Sequential], x: Tensor, change: str
) -> None:
    net, optimized = chain
    with torch.no_grad():
        assert same(optimized(x), net(x))
        for one in chain:
            WATCHING[change](one)
        assert same(optimized(x), net(x))


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


def on_other_threads(net: Net, x: Tensor) -> object:
    torch.set_num_threads(THREADS + 1)
    try:
        return net(x)
    finally:
        torch.set_num_threads(THREADS)


def in_bfloat16(net: Net, x: Tensor) -> object:
    with torch.autocast("cpu", torch.bfloat16):
        return net(x)


def training(net: Net, x: Tensor) -> object:
    y = copy.deepcopy(net.state_dict())
    try:
        return net.train()(x)
    finally:
        net.load_state_dict(y)
        net.eval()


def training_the_norm(net: Net, x: Tensor) -> object:
    net.norm.train()
    return net(x)


def without_statistics(net: Net, x: Tensor) -> object:
    net.norm.running_mean = net.norm.running_var = None
    return net(x)


def with_a_hook(net: Net, x: Tensor) -> object:
    seen: list[Tensor] = []
    handle = net.conv.register_forward_hook(lambda module, args, y: seen.append(y.clone()))
    y = net(x)
    handle.remove()
    return *seen, y


FALLBACKS: dict[str, tuple[Callable[[Net, Tensor], object], set[str]]] = {
    "another input": (lambda net, x: net(x[:1]), {"torch: another input"}),
    "threads": (on_other_threads, {"torch: another number of threads"}),
    "autocast": (in_bfloat16, {"torch: autocast", "torch: another input"}),
    "training": (training, {"torch: training"}),
    "norm": (
        training_the_norm,
        {"torch: its batch norm takes the statistics of the batch", "im2col"},
    ),
    "no statistics": (
        without_statistics,
        {"torch: its batch norm takes the statistics of the batch", "im2col"},
    ),
    "hook": (with_a_hook, {"torch: its output has another use", "im2col"}),
    "double": (lambda net, x: net.double()(x.double()), {"torch: another input"}),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_a_call_that_falls_back_runs_convolution_norm_and_relu(
    net: Net, folded: Net, x: Tensor, name: str
) -> None:
    call, expected = FALLBACKS[name]
    with torch.no_grad():
        assert same(call(folded, x), call(net, x))
    assert calls(folded).keys() == expected


def test_gradients_pass_through_the_norm(net: Net, folded: Net, x: Tensor) -> None:
    for one in (net, folded):
        one(x).sum().backward()
    for ours, theirs in zip(folded.parameters(), net.parameters(), strict=True):
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def branching(net: Net, x: Tensor) -> Tensor:
    y = net.conv(x)
    more = y.mean() if net.extra == "mean" else 0
    if net.extra == "overwritten":
        x.mul_(2)
        more = y.mean()
    return net.relu(net.norm(y)) + more


@pytest.fixture
def branched(x: Tensor, tabled: Tabled) -> tuple[Net, Net]:
    net = Net(branching).eval()
    optimized = optimize(net, tabled(problems_of(net, x)), x)
    assert report_of(optimized).replaced[0].has_relu
    return net, optimized


def test_an_unexpected_use_gets_the_convolution_alone(branched: tuple[Net, Net], x: Tensor) -> None:
    for one in branched:
        one.extra = "mean"
    net, optimized = branched
    with torch.no_grad():
        for _ in range(2):
            assert same(optimized(x), net(x))
    assert calls(optimized) == {"im2col": 1, "torch: its output has another use": 1}
    assert same(copy.deepcopy(optimized)(x), net(x))


def test_an_unexpected_use_is_refused_once_if_the_input_may_have_changed(
    branched: tuple[Net, Net], x: Tensor
) -> None:
    net, optimized = branched
    for one in branched:
        one.extra = "overwritten"
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="call the model again"):
            optimized(x.clone())
        assert same(optimized(x.clone()), net(x.clone()))


def test_an_unexpected_use_in_inference_mode_is_refused_once(
    branched: tuple[Net, Net], x: Tensor
) -> None:
    net, optimized = branched
    for one in branched:
        one.extra = "mean"
    with torch.inference_mode():
        x = x.clone()
        with pytest.raises(RuntimeError, match="call the model again"):
            optimized(x)
        assert same(optimized(x), net(x))


def test_a_replaced_norm_is_the_one_that_is_computed(net: Net, folded: Net, x: Tensor) -> None:
    for one in (net, folded):
        one.norm = nn.BatchNorm2d(8).eval()
    with torch.no_grad():
        assert same(folded(x), net(x))


def test_copies_and_pickles_fold_their_own_norms(net: Net, folded: Net, x: Tensor) -> None:
    for again in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert dispatches(again)["conv"].epilogue.norm is again.norm
        again.norm.running_mean.add_(1)
        with torch.inference_mode():
            assert not same(again(x), net(x))
            assert same(folded(x), net(x))
        assert calls(again) == {"im2col": 2}


def test_what_is_traced_contains_the_norm(net: Net, folded: Net, x: Tensor) -> None:
    with torch.no_grad():
        exported = torch.export.export(folded, (x,))
        assert same(exported.module()(x), net(x))
    assert sum("batch_norm" in str(node.target) for node in exported.graph.nodes) == 2
