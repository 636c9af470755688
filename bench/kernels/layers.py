"""The 30 layers of the search: of MobileNetV1 and V2, ResNet-50 and VGG-16, batch 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import workloads

MOBILENETS = ("mobilenetv1_100", "mobilenetv2_100")


class KernelLayer(NamedTuple):
    """One layer, the kernel that computes it, and the memory format of its input."""

    kernel: str
    problem: ConvProblem
    memory_format: str = "contiguous"


def problems_of(networks: Sequence[str], keeps: Callable[[ConvProblem], bool]) -> list[ConvProblem]:
    """Return the distinct problems of networks that pass a filter."""
    layers = (layer.problem for name in networks for layer in workloads()[name])
    return list(dict.fromkeys(filter(keeps, layers)))


def winograd_problems() -> list[ConvProblem]:
    """Return the 3x3 layers at stride 1 of VGG-16 and ResNet-50."""
    return [layer.problem for layer in GRIDS["winograd"].layers()]


def depthwise_problems() -> list[ConvProblem]:
    """Return the depthwise layers of MobileNetV1 and V2."""
    return problems_of(MOBILENETS, lambda one: one.is_depthwise)


def separable_problems() -> list[ConvProblem]:
    """Return MobileNetV1's separable blocks."""
    return [layer.problem for layer in GRIDS["separable_blocks"].layers()]


def pointwise_problems() -> list[ConvProblem]:
    """Return the 1x1 layers at stride 1 of ResNet-50 and MobileNetV2."""
    return problems_of(
        ("resnet50", "mobilenetv2_100"),
        lambda one: one.is_pointwise and one.groups == 1 and max(one.stride) == 1,
    )


def spread(problems: Sequence[ConvProblem], count: int) -> list[ConvProblem]:
    """Return `count` of the problems, evenly spaced."""
    return [problems[i * len(problems) // count] for i in range(count)]


def search_layers() -> list[KernelLayer]:
    """Return 10 Winograd, 10 depthwise, 5 separable and 5 pointwise layers."""
    depthwise = [
        KernelLayer("depthwise", problem, ("contiguous", "channels_last")[i % 2])
        for i, problem in enumerate(spread(depthwise_problems(), 10))
    ]
    return [
        *(KernelLayer("winograd", problem) for problem in spread(winograd_problems(), 10)),
        *depthwise,
        *(KernelLayer("separable", problem) for problem in spread(separable_problems(), 5)),
        *(KernelLayer("pointwise", problem) for problem in spread(pointwise_problems(), 5)),
    ]
