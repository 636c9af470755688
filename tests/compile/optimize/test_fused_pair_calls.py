"""Calls of depthwise and 1x1 convolutions in one kernel after changes, hooks and other uses."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convsweep.models.optimize.layers import restore_all
from tests.support.folded_nets import same
from tests.support.fused_pairs import (
    BOTH,
    FUSED,
    Pair,
    branching,
    fused,
    pairs_of,
)
from tests.support.optimized_models import THREADS, Tabled, calls

pytest.importorskip("numba")

pytestmark = pytest.mark.usefixtures("fused_is_fastest")


@pytest.fixture
def pair(x: Tensor, tabled: Tabled) -> tuple[Pair, Pair]:
    net = Pair(branching).eval()
    own = fused(net, x, tabled)
    assert pairs_of(own) == BOTH
    return net, own.model


def trained(norm: nn.Module) -> None:
    norm.train()
    with torch.no_grad():
        norm(torch.full((2, norm.num_features, 4, 4), 7.0))
    norm.eval()


CHANGES: dict[str, Callable[[Pair], object]] = {
    "state": lambda net: net.load_state_dict({k: v + 1 for k, v in net.state_dict().items()}),
    "weight": lambda net: net.pointwise[0].weight.data.mul_(2),
    "bias": lambda net: net.pointwise[0].bias.detach().add_(1),
    "first norm": lambda net: trained(net.depthwise[1]),
    "last norm": lambda net: trained(net.pointwise[1]),
    "eps": lambda net: setattr(net.pointwise[1], "eps", 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_of_both_are_computed_with(
    pair: tuple[Pair, Pair], x: Tensor, change: str
) -> None:
    net, own = pair
    with torch.inference_mode():
        assert same(own(x), net(x))
    for one in pair:
        CHANGES[change](one)
    with torch.inference_mode():
        assert same(own(x), net(x))
    assert calls(own)[FUSED] == 2


def test_copies_and_pickles_fuse_their_own_modules(pair: tuple[Pair, Pair], x: Tensor) -> None:
    net, own = pair
    for again in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        again.pointwise[0].weight.data.mul_(2)
        with torch.inference_mode():
            assert not same(again(x), net(x))
            assert same(own(x), net(x))
        assert calls(again)[FUSED] == 1


def with_hook(part: str, index: int) -> Callable[[Pair], object]:
    def change(net: Pair) -> None:
        module = getattr(net, part)[index]
        module.register_forward_hook(lambda module, args, y: y + 1)

    return change


def before_hook(net: Pair) -> None:
    net.pointwise[0].register_forward_pre_hook(lambda module, args: args[0] * 2)


def another_convolution(net: Pair) -> None:
    torch.manual_seed(5)
    net.pointwise[0] = nn.Conv2d(13, 21, 1)


OTHERS: dict[str, Callable[[Pair], object]] = {
    **{f"hook {i}": with_hook(part, i) for part in ("depthwise", "pointwise") for i in range(3)},
    "before": before_hook,
    "patched": lambda net: setattr(
        net.pointwise[0], "forward", lambda y: y.repeat(1, 2, 1, 1)[:, :21]
    ),
    "uses": lambda net: setattr(net, "extra", True),
    "training": lambda net: net.pointwise[1].train(),
    "another": another_convolution,
    "threads": lambda net: torch.set_num_threads(THREADS + 1),
    "another input": lambda net: net.stem.register_forward_hook(lambda m, args, y: y[:1]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_pair_with_another_use_is_torchs(pair: tuple[Pair, Pair], x: Tensor, name: str) -> None:
    for one in pair:
        OTHERS[name](one)
    net, own = pair
    with torch.no_grad():
        for _ in range(2):
            assert same(own(x), copy.deepcopy(net)(x))


def test_what_is_restored_or_traced_is_torchs(pair: tuple[Pair, Pair], x: Tensor) -> None:
    net, own = pair
    with torch.no_grad():
        traced = torch.export.export(own, (x,)).module()
        assert same(traced(x)[0], net(x)[0])
    restore_all(own)
    assert [type(one) for one in own.modules()] == [type(one) for one in net.modules()]


def test_gradients_pass_through_both(pair: tuple[Pair, Pair], x: Tensor) -> None:
    net, own = pair
    for one in pair:
        one(x)[0].sum().backward()
    for ours, theirs in zip(own.parameters(), net.parameters(), strict=True):
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
