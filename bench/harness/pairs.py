"""Sets of eight pairs of layers that every tool times: standard and separable."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import CONVBENCH, PROBLEM_COLUMNS, workloads

VARIABLE = "HARNESS_PAIRS"
"""Environment variable with the labels of the pairs to time."""

LAYERS = ("standard", "separable")


def _pair(in_channels: int, size: int, out_channels: int, stride: int) -> ConvProblem:
    return ConvProblem(in_channels, out_channels, (size, size), 3, stride=stride, padding=1)


LEAST_CHANNELS = 16
MOST_MACS = 300_000_000
"""Of a standard layer of ConvBench: a run of five seconds times 16 layers."""

# MobileNetV1's shapes: channels rise as the image shrinks.
PAIRS = (
    _pair(32, 112, 64, 1),
    _pair(64, 56, 128, 1),
    _pair(128, 56, 128, 1),
    _pair(128, 28, 256, 2),
    _pair(256, 28, 256, 1),
    _pair(256, 14, 512, 1),
    _pair(512, 14, 512, 1),
    _pair(512, 7, 1024, 1),
)


def convbench_pairs() -> tuple[ConvProblem, ...]:
    """Return eight problems of the ConvBench sample, always the same.

    They have a sensible separable twin: layers behind a network's stem, with overlapping windows.
    """
    found = [
        layer.problem
        for layer in workloads()[CONVBENCH]
        if layer.problem.groups == 1
        and layer.problem.in_channels >= LEAST_CHANNELS
        and min(layer.problem.kernel_size) > max(layer.problem.stride)
        and layer.problem.macs < MOST_MACS
    ]
    return tuple(random.Random(14).sample(found, len(PAIRS)))


PAIR_SETS: Mapping[str, Callable[[], Sequence[ConvProblem]]] = {
    "mobilenet": lambda: PAIRS,
    "convbench": convbench_pairs,
}


def short_name(label: str) -> str:
    """Return a short name such as `128 → 256, 28x28, stride 2` for a label; kernels are 3x3."""
    problem = ConvProblem.parse(label)
    kernel = "" if set(problem.kernel_size) == {3} else f", {_by(problem.kernel_size)} kernel"
    stride = "" if problem.stride[0] == 1 else f", stride {problem.stride[0]}"
    size = _by(problem.input_size)
    return f"{problem.in_channels} → {problem.out_channels}, {size}{kernel}{stride}"


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def to_environment(pairs: Sequence[ConvProblem]) -> dict[str, str]:
    """Return the environment variable with the pairs."""
    return {VARIABLE: " ".join(pair.label for pair in pairs)}


def requested_pairs() -> list[ConvProblem]:
    """Return the pairs named in the environment, by default all."""
    labels = os.environ.get(VARIABLE, "").split()
    return [ConvProblem.parse(label) for label in labels] or list(PAIRS)


def write_problems(pairs: Sequence[ConvProblem], path: Path) -> None:
    """Write the pairs as CSV for `convsweep run --problems`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PROBLEM_COLUMNS)
        for pair in pairs:
            sizes = (*pair.kernel_size, *pair.stride, *pair.padding, *pair.dilation)
            channels = (pair.in_channels, *pair.input_size, pair.out_channels)
            writer.writerow((pair.batch_size, *channels, *sizes, pair.groups, int(pair.bias)))
