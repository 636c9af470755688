"""Published networks as plain torch modules; each has the layers of the workload of its name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

CLASSES = 1000
_SEED = 0


def build(name: str) -> nn.Module:
    """Return the network of that name on the CPU, in evaluation mode, with seeded weights.

    No value becomes denormal, since the weights keep the variance of activations.
    """
    with torch.device("meta"):  # without drawing torch's default weights
        module = BUILDERS[name]()
    # `to_empty` would import SymPy, which takes half a second.
    module._apply(lambda x: torch.empty(x.shape, dtype=x.dtype))  # type: ignore[no-untyped-call]
    draw_weights(module, torch.Generator().manual_seed(_SEED))
    return module.eval()


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw normal weights that keep the variance of activations (He et al. 2015)."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()


def unit(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[..., nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Return convolution, batch norm and activation (Ioffe & Szegedy 2015)."""
    padding = kernel_size // 2
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
    )
    last = [] if activation is None else [activation(inplace=True)]
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), *last)


def classifier(channels: int) -> nn.Sequential:
    """Return the mean over the image, followed by one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Residual(nn.Module):
    """`last(body(x) + shortcut(x))` (He et al. 2016)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum."""
        y: Tensor = self.last(self.body(x) + self.shortcut(x))
        return y


_MOBILENETV1 = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
"""Channels and stride of each separable pair or standard convolution."""


def _mobilenetv1(*, separable: bool) -> nn.Module:
    """MobileNet (Howard et al. 2017, Table 1): depthwise and 1x1 convolutions in turn.

    Else it has standard convolutions (Table 4, first line).
    """
    layers, channels = [unit(3, 32, 3, 2)], 32
    for wider, stride in _MOBILENETV1:
        if separable:
            layers.append(unit(channels, channels, 3, stride, groups=channels))
        layers.append(unit(channels, wider, 1) if separable else unit(channels, wider, 3, stride))
        channels = wider
    return nn.Sequential(*layers, classifier(channels))


def _mobilenetv2() -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018, Table 2): inverted residuals, linear bottlenecks."""

    def block(channels: int, wider: int, stride: int, expansion: int) -> nn.Module:
        inner = channels * expansion
        body = nn.Sequential(
            *([unit(channels, inner, 1, activation=nn.ReLU6)] if expansion > 1 else []),
            unit(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6),
            unit(inner, wider, 1, activation=None),
        )
        keeps_shape = stride == 1 and channels == wider
        return Residual(body, nn.Identity(), nn.Identity()) if keeps_shape else body

    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
              (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    layers: list[nn.Module] = [unit(3, 32, 3, 2, activation=nn.ReLU6)]
    channels = 32
    for expansion, wider, repeats, first_stride in stages:
        for stride in (first_stride, *[1] * (repeats - 1)):
            layers.append(block(channels, wider, stride, expansion))
            channels = wider
    layers.append(unit(channels, 1280, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, classifier(1280))


def _vgg16() -> nn.Module:
    """VGG-16 (Simonyan & Zisserman 2015, column D), its first two linear layers as convolutions.

    Timm builds it this way; on a 7x7 image the 7x7 convolution equals the linear layer.
    """
    layers: list[nn.Module] = []
    channels = 3
    for wider, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU(inplace=True)]
            channels = wider
        layers.append(nn.MaxPool2d(2))
    for kernel_size in (7, 1):
        layers += [nn.Conv2d(channels, 4096, kernel_size), nn.ReLU(inplace=True)]
        channels = 4096
    return nn.Sequential(*layers, classifier(channels))


def _basic(channels: int, width: int, stride: int) -> nn.Sequential:
    """Return two 3x3 convolutions."""
    return nn.Sequential(unit(channels, width, 3, stride), unit(width, width, 3, activation=None))


def _bottleneck(channels: int, width: int, stride: int) -> nn.Sequential:
    """Return 1x1, 3x3 and 1x1 convolutions; the 3x3 one has the stride, as in torchvision."""
    return nn.Sequential(
        unit(channels, width, 1),
        unit(width, width, 3, stride),
        unit(width, 4 * width, 1, activation=None),
    )


def _resnet(
    body: Callable[[int, int, int], nn.Sequential], expansion: int, repeats: Sequence[int]
) -> nn.Module:
    """Return a ResNet (He et al. 2016, Table 1) of four stages."""
    layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for stage, times in enumerate(repeats):
        width = 64 * 2**stage
        for index in range(times):
            stride = 2 if stage and not index else 1
            wider = expansion * width
            same = channels == wider and stride == 1
            shortcut = nn.Identity() if same else unit(channels, wider, 1, stride, activation=None)
            layers.append(Residual(body(channels, width, stride), shortcut, nn.ReLU(inplace=True)))
            channels = wider
    return nn.Sequential(*layers, classifier(channels))


BUILDERS: Mapping[str, Callable[[], nn.Module]] = {
    "mobilenetv1_100": partial(_mobilenetv1, separable=True),
    "mobilenetv1_100_standard": partial(_mobilenetv1, separable=False),
    "mobilenetv2_100": _mobilenetv2,
    "vgg16": _vgg16,
    "resnet18": partial(_resnet, _basic, 1, (2, 2, 2, 2)),
    "resnet50": partial(_resnet, _bottleneck, 4, (3, 4, 6, 3)),
}
"""Builders by the names of the workloads that have their layers."""
