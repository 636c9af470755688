"""Small convolutional network with standard or separable layers: its MACs, training, evaluation.

The same seed and threads give the same bits.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

from convsweep.problems.networks import draw_weights
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import depthwise_part, pointwise_part
from convsweep.results.accuracy import EQUAL_COST, STANDARD

MIN_CHANNELS = 4  # With fewer input channels the first layer stays standard, as in MobileNet

_BLOCKS = ((1, 1), (2, 2), (4, 2), (4, 1))
"""Per layer: channels as a multiple of the width, and stride."""
_MAX_WIDENING = 32


class ImageTask(NamedTuple):
    """Square images to classify."""

    in_channels: int
    size: int
    classes: int


def convolutions(task: ImageTask, width: int) -> list[ConvProblem]:
    """Return the 3x3 convolutions of the standard network, for one sample."""
    problems: list[ConvProblem] = []
    channels, size = task.in_channels, (task.size, task.size)
    for multiple, stride in _BLOCKS:
        problem = ConvProblem(channels, multiple * width, size, 3, stride=stride, padding=1)
        problems.append(problem)
        channels, size = problem.out_channels, (problem.output_size[0], problem.output_size[1])
    return problems


def layers(task: ImageTask, variant: str, width: int) -> list[ConvProblem]:
    """Return every convolution of a variant in order; a separable layer has two."""
    standard = convolutions(task, width)
    if variant == STANDARD:
        return standard
    problems: list[ConvProblem] = []
    for problem in standard:
        wide = problem.in_channels >= MIN_CHANNELS
        problems += (depthwise_part(problem), pointwise_part(problem)) if wide else (problem,)
    return problems


def macs(task: ImageTask, variant: str, width: int) -> int:
    """Return the MACs for one sample, the last fully connected layer included."""
    problems = layers(task, variant, width)
    return sum(problem.macs for problem in problems) + problems[-1].out_channels * task.classes


def width_of(task: ImageTask, variant: str, standard_width: int) -> int:
    """Return the standard width; for equal cost, the width whose MACs come closest."""
    if variant != EQUAL_COST:
        return standard_width
    aim = macs(task, STANDARD, standard_width)
    widths = range(standard_width, _MAX_WIDENING * standard_width)
    return min(widths, key=lambda width: abs(macs(task, variant, width) - aim))


def build(task: ImageTask, variant: str, width: int, generator: torch.Generator) -> nn.Sequential:
    """Return the network (N, C, H, W) -> (N, classes) with weights drawn by `generator`.

    Batch normalisation and ReLU follow every convolution (Howard et al. 2017, MobileNets,
    figure 3), then come the mean over all pixels and a fully connected layer.
    """
    problems = layers(task, variant, width)
    parts: list[nn.Module] = []
    for problem in problems:
        parts += (_convolution(problem), nn.BatchNorm2d(problem.out_channels), nn.ReLU())
    last = nn.Linear(problems[-1].out_channels, task.classes)
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    draw_weights(network, generator)
    return network


def _convolution(problem: ConvProblem) -> nn.Conv2d:
    channels = problem.in_channels, problem.out_channels
    kernel, stride, padding = (
        (size[0], size[1]) for size in (problem.kernel_size, problem.stride, problem.padding)
    )
    return nn.Conv2d(*channels, kernel, stride, padding, groups=problem.groups, bias=False)


def deploy(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """Return the network for inference: batch normalisation folded into the convolutions."""
    folded: list[nn.Module] = []
    for part in network.eval():
        if isinstance(part, nn.BatchNorm2d):
            convolution = folded.pop()
            assert isinstance(convolution, nn.Conv2d)
            part = fuse_conv_bn_eval(convolution, part)
        folded.append(part)
    return nn.Sequential(*folded).eval()


BATCH_SIZE = 64
LEARNING_RATE = 2e-2
"""Peak rate of Adam (Kingma & Ba 2015) with the one-cycle policy (Smith & Topin 2019)."""


class Data(NamedTuple):
    """Tensors of a `Split`."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def train(network: nn.Module, data: Data, epochs: int, generator: torch.Generator) -> None:
    """Train for the given number of epochs; `generator` draws the order of samples."""
    network.train()
    steps = epochs * -(-len(data.train) // BATCH_SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, cycle_momentum=False
    )
    for batch in _batches(len(data.train), epochs, generator):
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(network(data.train[batch]), data.train_labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _batches(samples: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.split(torch.randperm(samples, generator=generator), BATCH_SIZE)


def evaluate(network: nn.Module, data: Data) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy over all test samples."""
    network.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        batches = (torch.split(part, BATCH_SIZE) for part in (data.test, data.test_labels))
        for x, labels in zip(*batches, strict=True):
            scores = network(x)
            right += int((scores.argmax(1) == labels).sum())
            loss += float(cross_entropy(scores, labels, reduction="sum"))
    return right / len(data.test), loss / len(data.test)


def weights_digest(network: nn.Module) -> str:
    """Return the first 16 digits of the SHA-256 of all named weights and running means."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:16]
