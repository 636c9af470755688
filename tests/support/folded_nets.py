"""Networks of two convolutions with batch norm and ReLU, used in one way or another."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.optimized_models import near

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


def with_relu6(net: Net, x: Tensor) -> Tensor:
    x = nn.ReLU6()(net.norm(net.conv(x * 9)))
    return functional.relu6(net.last(net.other(x)), inplace=True)


def with_hardtanh(net: Net, x: Tensor) -> Tensor:
    x = functional.hardtanh(net.norm(net.conv(x)), 0, 0.5)
    return functional.hardtanh_(net.last(net.other(x)), 0.0, 0.25)


def with_another_hardtanh(net: Net, x: Tensor) -> Tensor:
    x = functional.hardtanh(net.norm(net.conv(x)))
    return nn.Hardtanh(0.125, 0.5)(net.last(net.other(x)))


def ignoring_what_relu_returns(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    net.relu(y)
    return y + net.last(net.other(y))


def asking_for_the_type_of_relu(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    return net.relu(y) if type(net.relu) is nn.ReLU else y


def for_a_few_calls(net: Net, x: Tensor) -> Tensor:
    net.calls = getattr(net, "calls", 0) + 1
    y = net.relu(net.norm(net.conv(x)))
    return net.last(net.other(y)) if net.calls < 5 else y


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


def same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(map(same, one, other))
    return type(one) is Tensor and isinstance(other, Tensor) and near(one, other)
