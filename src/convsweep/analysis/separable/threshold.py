"""Number of channels from which on separable layers are faster, per input size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from convsweep.analysis.separable.comparison import Replacement
from convsweep.problems.problem import format_size


class Threshold(NamedTuple):
    """All replacements of one input size, whatever their kernel, stride or batch size."""

    size: str
    measured: Sequence[int]  # numbers of input channels, ascending
    channels: int | None  # least of them from which on every replacement is faster
    problems: int
    faster: int


def thresholds(replacements: Sequence[Replacement], least: int = 2) -> list[Threshold]:
    """Return one row per input size that has at least `least` numbers of channels."""
    by_size: dict[tuple[int, ...], list[Replacement]] = {}
    for replacement in replacements:
        by_size.setdefault(replacement.problem.input_size, []).append(replacement)
    ordered = sorted(by_size, key=lambda size: (len(size), math.prod(size)))
    found = [_threshold(format_size(size), by_size[size]) for size in ordered]
    return [each for each in found if len(each.measured) >= least]


def _threshold(size: str, replacements: Sequence[Replacement]) -> Threshold:
    measured = sorted({each.problem.in_channels for each in replacements})
    others = [each.problem.in_channels for each in replacements if each.verdict != "faster"]
    above = [channels for channels in measured if channels > max(others, default=0)]
    return Threshold(
        size, measured, min(above, default=None), len(replacements), len(replacements) - len(others)
    )
