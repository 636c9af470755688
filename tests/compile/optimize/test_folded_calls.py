"""Calls of folded layers that fall back, or whose output has another use; chains of modules."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.folded_nets import Net, same
from tests.support.optimized_models import (
    THREADS,
    Tabled,
    calls,
    optimize,
    problems_of,
    report_of,
)


@pytest.fixture
def chain(x: Tensor, tabled: Tabled) -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    return net, optimize(net, tabled(problems_of(net, x)), x)


def test_a_chain_skips_what_the_convolution_has_computed(
    chain: tuple[nn.Sequential, nn.Sequential], x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, optimized = chain
    for module in optimized[1:3]:
        monkeypatch.setattr(type(module), "__call__", None)
    with torch.inference_mode():
        assert same(optimized(x), net(x))
    monkeypatch.undo()
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
    "patched": lambda net: setattr(net[2], "forward", lambda y: y + 7),
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
    assert report_of(optimized).replaced[0].epilogue.relus
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


def test_an_output_that_is_kept_while_a_weight_changes_is_refused(
    branched: tuple[Net, Net], x: Tensor
) -> None:
    net, optimized = branched
    with torch.no_grad():
        kept = optimized.conv(x)
        for one in branched:
            one.conv.weight.mul_(2)
        with pytest.raises(RuntimeError, match="call the model again"):
            kept.mean()
        assert same(optimized.conv(x), net.conv(x))


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
