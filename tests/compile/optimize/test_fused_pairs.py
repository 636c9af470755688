"""Depthwise and 1x1 convolutions that are computed by one kernel."""

import copy
import pickle
from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convsweep.models.optimize import candidates
from convsweep.models.optimize.candidates import Candidate
from convsweep.models.optimize.gate import ModelReference
from convsweep.models.optimize.layer_inventory import ModelInputs, copy_model
from convsweep.models.optimize.layers import dispatches, restore_all
from convsweep.models.optimize.selection import read_table
from tests.support.folded_nets import same
from tests.support.optimized_models import THREADS, Tabled, calls, optimize, problems_of, report_of

pytest.importorskip("numba")

FUSED = "separable_numba"
Forward = Callable[["Pair", Tensor], object]


class Pair(nn.Module):
    """A depthwise and a 1x1 convolution with batch norm and activation, called by a function."""

    def __init__(
        self,
        forward: Forward,
        channels: tuple[int, int] = (13, 21),
        activation: type[nn.Module] = nn.ReLU,
        **depthwise: object,
    ) -> None:
        super().__init__()
        self.function, self.extra = forward, False
        inner, outer = channels
        how = {"kernel_size": 3, "padding": 1, "groups": inner, "bias": False} | depthwise
        self.stem = nn.Conv2d(3, inner, 3)
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, **how), nn.BatchNorm2d(inner), activation(inplace=True)
        )
        self.pointwise = nn.Sequential(nn.Conv2d(inner, outer, 1), nn.BatchNorm2d(outer), nn.ReLU())
        drawn = torch.Generator().manual_seed(3)
        for norm in (self.depthwise[1], self.pointwise[1]):
            for value in norm.state_dict().values():
                if value.dim():
                    value.copy_(torch.rand(value.shape, generator=drawn) + 0.5)

    def forward(self, x: Tensor) -> object:
        return self.function(self, self.stem(x))


def usual(net: Pair, x: Tensor) -> Tensor:
    return net.pointwise(net.depthwise(x))


def by_modules(net: Pair, x: Tensor) -> Tensor:
    for module in (*net.depthwise, *net.pointwise):
        x = module(x)
    return x


def asking_for_shapes(net: Pair, x: Tensor) -> Tensor:
    y = net.depthwise(x)
    assert y.shape[1] == net.pointwise[0].in_channels
    z = net.pointwise[0](y)
    assert z.size(1) == net.pointwise[0].out_channels
    return net.pointwise[2](net.pointwise[1](z)).flatten(1)


def without_activations(net: Pair, x: Tensor) -> Tensor:
    return net.pointwise[0](net.depthwise[0](x))


def linear_bottleneck(net: Pair, x: Tensor) -> Tensor:
    return net.pointwise[1](net.pointwise[0](net.depthwise(x * 9)))


def twice(net: Pair, x: Tensor) -> Tensor:
    return usual(net, x) + usual(net, x * 2)


def with_a_shortcut(net: Pair, x: Tensor) -> Tensor:
    y = net.depthwise(x)
    return net.pointwise(y).sum(1, keepdim=True) + y


def with_one_norm(net: Pair, x: Tensor) -> Tensor:
    return net.depthwise[1](net.pointwise[0](net.depthwise[1](net.depthwise[0](x))))


def branching(net: Pair, x: Tensor) -> object:
    y = net.depthwise[1](net.depthwise[0](x))
    z = net.depthwise[2](y)
    more = [one.mean() for one in (y, z)] if net.extra else []
    return (net.pointwise(z), *more)


@pytest.fixture(autouse=True)
def fused_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(
        models: object, asked: Iterable[Iterable[str]], *more: object
    ) -> list[dict[str, float]]:
        return [dict.fromkeys(own, 1 - 0.1 * index) for index, own in enumerate(asked)]

    monkeypatch.setattr(candidates, "layer_times", times)


def fused(net: nn.Module, x: Tensor, tabled: Tabled, threads: int = THREADS) -> Candidate:
    """Copy whose pairs are fused; other layers are on im2col."""
    given = ModelInputs.of(x)
    [own] = candidates.candidates(copy_model(net), given, every_format=False)
    table = read_table(tabled(problems_of(net, x)), None, (), across_machines=False)
    own.optimize(table, ModelReference(net, given, 3), None, threads, 600.0)
    for dispatch in dispatches(own.model).values():
        dispatch.calls.clear()
    return own


def pairs_of(one: Candidate) -> list[list[str]]:
    return [own.names for own in one.replaced if own.choice.backend == FUSED]


BOTH = [["depthwise.0", "pointwise.0"]]
NETS: dict[str, tuple[Callable[[], Pair], list[list[str]]]] = {
    "usual": (partial(Pair, usual), BOTH),
    "modules": (partial(Pair, by_modules), BOTH),
    "shapes": (partial(Pair, asking_for_shapes), BOTH),
    "convolutions": (partial(Pair, without_activations), BOTH),
    "linear": (partial(Pair, linear_bottleneck), BOTH),
    "ReLU6": (partial(Pair, linear_bottleneck, activation=nn.ReLU6), BOTH),
    "narrow": (partial(Pair, usual, (2, 1)), BOTH),
    "wide": (partial(Pair, usual, (33, 64), stride=2, kernel_size=5), BOTH),
    "bias": (partial(Pair, usual, bias=True, padding=0, dilation=2), BOTH),
    "reflected": (partial(Pair, usual, padding_mode="reflect"), BOTH),
    "multiplier": (partial(Pair, usual, (12, 8), groups=6), []),
    "twice": (partial(Pair, twice), []),
    "shortcut": (partial(Pair, with_a_shortcut), []),
    "one norm": (partial(Pair, with_one_norm, (13, 13)), []),
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NETS)
def test_a_pair_is_computed_by_one_kernel(
    x: Tensor, tabled: Tabled, name: str, memory_format: torch.memory_format
) -> None:
    make, expected = NETS[name]
    net, x = make().eval(), x.to(memory_format=memory_format)
    own = fused(net, x, tabled)
    assert pairs_of(own) == expected
    with torch.inference_mode():
        for _ in range(2):
            assert same(own.model(x), net(x))
    assert calls(own.model).get(FUSED, 0) == 2 * len(expected)
    assert not any(dispatch.is_given_up for dispatch in dispatches(own.model).values())
    assert [*own.model.state_dict()] == [*net.state_dict()]


def test_several_threads_compute_a_pair(x: Tensor, tabled: Tabled) -> None:
    torch.set_num_threads(2)
    net = Pair(usual).eval()
    own = fused(net, x, tabled, threads=2)
    with torch.inference_mode():
        assert same(own.model(x), net(x))
    assert calls(own.model)[FUSED] == 1


def test_a_pair_without_a_faster_time_is_left_apart(
    x: Tensor, tabled: Tabled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(models: object, asked: list[set[str]], *more: object) -> list[dict[str, float]]:
        *others, last = (dict.fromkeys(own, 1.0) for own in asked)
        return [*others, last | {"depthwise.0": 2.0}]

    monkeypatch.setattr(candidates, "layer_times", times)
    own = fused(Pair(usual).eval(), x, tabled)
    assert pairs_of(own) == []
    assert {one.name for one in own.skipped} == {"stem", "depthwise.0", "pointwise.0"}


def test_a_report_names_both_layers(x: Tensor, tabled: Tabled) -> None:
    net = Pair(usual).eval()
    report = report_of(optimize(net, tabled(problems_of(net, x)), x, measure_s=10))
    assert "depthwise.0 + pointwise.0 C13→21" in str(report)
    assert "3 of 3 convolutions per call replaced, 2 with batch norm folded, 2 with" in str(report)


def test_a_report_has_the_reason_for_a_folded_layer(x: Tensor, tabled: Tabled) -> None:
    net = Pair(twice).eval()
    table = tabled(dict.fromkeys(problems_of(net, x), "torch_conv"))
    report = report_of(optimize(net, table, x))
    assert {one.name for one in report.replaced} == {"depthwise.0", "pointwise.0"}
    assert "5 convolutions on torch: depthwise.0, pointwise.0 and stem: torch_conv is" in str(
        report
    )


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
