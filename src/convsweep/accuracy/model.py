"""Small convolutional network with standard or separable layers, and its cost in MACs."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
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
