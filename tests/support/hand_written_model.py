"""Models as users write them, and factories that go wrong."""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = torch.ones(4, 8, 3, 3)
SIGNAL = torch.ones(4, 4, 5)


class EveryKind(nn.Module):
    """A convolution of every kind: (N, 3, 16, 16) -> (N, 6, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same")
        self.shared = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        )
        self.volume = nn.Conv3d(1, 1, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.shared(self.shared(self.stem(x))))
        x = F.conv2d(self.branch(x), KERNEL, stride=2, padding=1)  # (N, 4, 8, 8)
        x = F.conv1d(x.flatten(2), SIGNAL, padding="same").unflatten(2, (8, 8))
        return self.up(self.volume(x[:, None])[:, 0])


class ReadsNumbers(nn.Module):
    """What it executes depends on the numbers in its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        x = self.conv(x)
        return self.conv(x) if x.sum().item() != 0 else x


def every_kind() -> nn.Module:
    return EveryKind()


def talkative() -> nn.Module:
    print("this model talks")  # noqa: T201
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))


def another() -> nn.Module:
    return nn.Conv2d(4, 4, 3)


class Chatty(nn.Conv2d):
    """Prints whenever it is called."""

    def __init__(self) -> None:
        super().__init__(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        print("called")  # noqa: T201
        return super().forward(x)


def without() -> nn.Module:
    return nn.Linear(4, 4)


def cropped() -> nn.Module:
    """A transposed convolution whose padding no problem has."""
    return nn.ConvTranspose2d(4, 4, 2, padding=2)


class Untracked(nn.Conv2d):
    """Records no gradients."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def untracked() -> nn.Module:
    return Untracked(4, 4, 3)


def frozen() -> nn.Module:
    return another().requires_grad_(False)


def for_inference() -> nn.Module:
    with torch.inference_mode():
        return another()


def signal() -> nn.Module:
    return nn.Conv1d(4, 4, 3)


def even() -> nn.Module:
    return nn.Conv2d(4, 4, 4, padding="same")


def raises() -> nn.Module:
    raise RuntimeError("no luck\nin two lines")


def leaves() -> nn.Module:
    sys.exit(0)


def returns_text() -> str:
    return "a model"


ready = nn.Conv2d(4, 4, 1)
number = 7
