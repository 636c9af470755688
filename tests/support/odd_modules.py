"""Modules and factories of the models in `odd_models`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = "1,3,16,16"


class OddModel(NamedTuple):
    """A factory, its inputs, and whether its convolutions can be measured."""

    make: Callable[[], Any]
    inputs: tuple[str, ...] = (IMAGE,)
    measured: bool = True


class Calls(nn.Module):
    """Calls a function with a convolution and the inputs."""

    def __init__(self, function: Callable[..., Any], conv: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(3, 8, 3) if conv is None else conv

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.conv, *inputs)


class Loud(Exception):
    """Has no text: to make it raises."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")


class Outside(BaseException):
    """Is no `Exception`."""


class Shown:
    """Has a `repr` that raises."""

    def __repr__(self) -> str:
        """Raise."""
        raise RuntimeError("no repr")


class Nested(nn.Module):
    """Calls the module within it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class NoCopy(nn.Conv2d):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        """Raise."""
        raise TypeError("no copy")


class NoModules(nn.Module):
    """Raises when its parameters are asked for."""

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no parameters")

    def forward(self, x: Tensor) -> Tensor:
        return x


class Twice(nn.Module):
    """Doubles a weight: a parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class QuantizedNet(nn.Module):
    """Quantizes, convolves and dequantizes."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.conv = nn.Conv2d(3, 8, 3)
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(self.conv(self.quant(x)))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))


def deep(depth: int) -> nn.Module:
    model: nn.Module = nn.Conv2d(3, 8, 3)
    for _ in range(depth):
        model = Nested(model)
    return model


def quantized() -> nn.Module:
    model = QuantizedNet().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("onednn")
    torch.ao.quantization.prepare(model, inplace=True)
    model(torch.randn(1, 3, 16, 16))
    return torch.ao.quantization.convert(model, inplace=True)


def changed(change: Callable[[Any], Any], make: Callable[[], nn.Module] = small) -> Any:
    model = make()
    change(model)
    return model


def sparse_weight(conv: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight.to_sparse().to_dense())


def really_sparse(conv: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight.detach().to_sparse())


def nested_tensor(conv: Any, x: Tensor) -> Tensor:
    images = torch.nested.nested_tensor([x[0], x[0, :, :10]])
    return torch.stack([conv(image).sum() for image in images.unbind()])


def raising(error: BaseException) -> OddModel:
    def fail(conv: Any, x: Tensor) -> Tensor:
        raise error

    return OddModel(partial(Calls, fail), measured=False)


def doing(action: Callable[[], Any], measured: bool = True) -> OddModel:
    """Return a model that does something besides its convolution."""

    def act(conv: Any, x: Tensor) -> Any:
        action()
        return conv(x)

    return OddModel(partial(Calls, act), measured=measured)


def function(
    do: Callable[..., Any], *inputs: str, conv: Any = None, measured: bool = True
) -> OddModel:
    return OddModel(lambda: Calls(do, conv() if conv else None), inputs or (IMAGE,), measured)


def plain(make: Callable[[], Any], *inputs: str, measured: bool = True) -> OddModel:
    return OddModel(make, inputs or (IMAGE,), measured)


def failing(error: BaseException) -> OddModel:
    """Return a factory that raises."""

    def fail() -> nn.Module:
        raise error

    return OddModel(fail, measured=False)


def denormal(share: float) -> nn.Module:
    model = small()
    with torch.no_grad():
        flat = model[2].weight.view(-1)
        flat[: int(share * flat.numel())] = 1e-42
    return model


def fill(value: float) -> Callable[[Any], None]:
    def write(model: Any) -> None:
        with torch.no_grad():
            model[0].weight.fill_(value)

    return write


def hooked() -> nn.Module:
    model = small()
    model[0].register_forward_hook(lambda module, args, y: y * 2)
    model[2].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return model


def tied() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    model[1].weight = model[0].weight
    return model
