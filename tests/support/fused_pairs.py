"""Networks of a depthwise and a 1x1 convolution, and copies that compute both by one kernel."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convsweep.models.optimize import candidates
from convsweep.models.optimize.candidates import Candidate
from convsweep.models.optimize.gate import ModelReference
from convsweep.models.optimize.layer_inventory import ModelInputs, copy_model
from convsweep.models.optimize.layers import dispatches
from convsweep.models.optimize.selection import read_table
from tests.support.optimized_models import THREADS, Tabled, problems_of

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
