"""Where a separable layer pays: the side of an axis on which every problem is decided so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from convsweep import formatting
from convsweep.analysis.separable.comparison import Replacement
from convsweep.problems.problem import format_size

FASTER = "faster"
_MOST_STEPS = 4
_MOST_NAMES = 3


class Region(NamedTuple):
    """Problems of which every one pays, and how to speak of them and of those beyond."""

    where: str
    """`from 32 channels on`; and what was not measured at its edge."""
    beyond: str
    """`below 32 channels`."""
    inside: Sequence[int]
    outside: Sequence[int]


class _Axis(NamedTuple):
    """What problems are ordered by, and how a place on it is named."""

    place: Callable[[Replacement], int]
    name: Callable[[Replacement], str]
    plural: str


def rank(replacement: Replacement) -> int:
    """The dimensions of its input: 1 of a signal, 2 of an image, 3 of a volume."""
    return len(replacement.problem.input_size)


def _pixels(replacement: Replacement) -> int:
    return math.prod(replacement.problem.input_size)


_AXES = (
    _Axis(
        lambda r: r.problem.in_channels,
        lambda r: f"{r.problem.in_channels} channels",
        "numbers of channels",
    ),
    _Axis(_pixels, lambda r: format_size(r.problem.input_size), "sizes"),
)


def find_region(replacements: Sequence[Replacement]) -> Region | None:
    """The largest end of an axis, channels or size, on which every problem is faster.

    None where it would hold all problems, none, or less than half of those that are faster; and
    where problems are of several ranks, whose sizes and channels have no common order.
    """
    if len({*map(rank, replacements)}) > 1:
        return None
    found = [region for axis in _AXES for region in _ends(replacements, axis)]
    wins = sum(replacement.verdict == FASTER for replacement in replacements)
    largest = max(found, key=lambda region: len(region.inside), default=None)
    return largest if largest and 2 * len(largest.inside) >= wins else None


def steps(replacements: Sequence[Replacement]) -> list[str] | None:
    """For each number of channels, downwards, from where on it pays: `at 8 channels nowhere`.

    None where there are more than `_MOST_STEPS`, or one of them pays here and there; and for
    networks, whose channels come with one size.
    """
    channels = sorted({r.problem.in_channels for r in replacements}, reverse=True)
    if len(channels) > _MOST_STEPS or any(r.workload for r in replacements):
        return None
    said = []
    for count in channels:
        part = [r for r in replacements if r.problem.in_channels == count]
        wins = sum(r.verdict == FASTER for r in part)
        found = find_region(part)
        if 0 < wins < len(part) and (found is None or len(found.inside) < wins):
            return None
        where = found.where if found and wins else "everywhere" if wins else "nowhere"
        said.append(f"at {count} channels {where}")
    return said


def _ends(replacements: Sequence[Replacement], axis: _Axis) -> Iterable[Region]:
    """The upper and the lower end of one axis, where each is faster and something is beyond."""
    names = {axis.place(replacement): axis.name(replacement) for replacement in replacements}
    places = sorted(names)
    lost = {axis.place(r) for r in replacements if r.verdict != FASTER}
    if not lost or len(places) < 2:
        return
    low, high = (edge(lost) for edge in (min, max))
    above = [place for place in places if place > high]
    if above:
        first = names[above[0]]
        where = f"from {first} on" if len(above) > 1 else f"at {first}"
        where += _gaps(replacements, axis, above[0])
        yield _region(replacements, axis, above, where, f"below {first}")
    below = [place for place in places if place < low]
    if below:
        last = names[below[-1]]
        where = f"up to {last}" if len(below) > 1 else f"at {last}"
        where += _gaps(replacements, axis, below[-1])
        yield _region(replacements, axis, below, where, f"above {last}")


def _gaps(replacements: Sequence[Replacement], axis: _Axis, place: int) -> str:
    """` (at 64 channels measured at 56x56 only)`: what the edge lacks of the other axis."""
    (other,) = (each for each in _AXES if each is not axis)
    names = {other.place(r): other.name(r) for r in replacements}
    there = {other.place(r) for r in replacements if axis.place(r) == place}
    absent = [names[at] for at in sorted(names.keys() - there)]
    if not absent:
        return ""
    edge = next(axis.name(r) for r in replacements if axis.place(r) == place)
    present = [names[at] for at in sorted(there)]
    if len(present) <= min(len(absent), _MOST_NAMES):
        return f" (at {edge} measured at {formatting.join(present)} only)"
    if len(absent) <= _MOST_NAMES:
        return f" (at {edge} not measured at {formatting.join(absent)})"
    return f" (at {edge} measured at {len(present)} of {len(names)} {other.plural})"


def _region(
    replacements: Sequence[Replacement], axis: _Axis, places: Sequence[int], where: str, beyond: str
) -> Region:
    inside = [i for i, replacement in enumerate(replacements) if axis.place(replacement) in places]
    outside = sorted(set(range(len(replacements))) - set(inside))
    return Region(where, beyond, inside, outside)
