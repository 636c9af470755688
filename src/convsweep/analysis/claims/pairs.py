"""Pairs of timings that differ in one property, with the time ratio that a claim expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

from convsweep.problems.problem import ConvProblem

Problems = tuple[ConvProblem, ConvProblem]


class Timing(NamedTuple):
    """One problem on one backend."""

    problem: ConvProblem
    backend: str


class Pair(NamedTuple):
    """Two timings of one run."""

    first: Timing
    second: Timing
    claimed: float  # claimed ratio: seconds of the second / seconds of the first


FindPairs = Callable[[Collection[Timing], str], Iterator[Pair]]
"""Function of the timings of one setting and the baseline."""


def equal_time(first: ConvProblem, second: ConvProblem) -> float:
    """Return the ratio 1."""
    return 1.0


def time_as_macs(first: ConvProblem, second: ConvProblem) -> float:
    """Return the ratio of the MACs."""
    return second.macs / first.macs


def between_problems(
    find: Callable[[Collection[ConvProblem]], Iterator[Problems]],
    claimed: Callable[[ConvProblem, ConvProblem], float] = time_as_macs,
) -> FindPairs:
    """Return a function that pairs two problems on the baseline."""

    def find_pairs(timed: Collection[Timing], baseline: str) -> Iterator[Pair]:
        problems = dict.fromkeys(t.problem for t in timed if t.backend == baseline)
        for first, second in find(problems):
            yield Pair(Timing(first, baseline), Timing(second, baseline), claimed(first, second))

    return find_pairs


def between_backends(
    backend: str, claimed: Callable[[ConvProblem], float] = lambda problem: 1.0
) -> FindPairs:
    """Return a function that pairs one problem on the baseline and on another backend."""

    def find_pairs(timed: Collection[Timing], baseline: str) -> Iterator[Pair]:
        for second in timed:
            first = second._replace(backend=baseline)
            if second.backend == backend != baseline and first in timed:
                yield Pair(first, second, claimed(second.problem))

    return find_pairs


def _fields_except(problem: ConvProblem, *names: str) -> Hashable:
    return tuple(getattr(problem, f.name) for f in fields(problem) if f.name not in names)


def _first_with_others(
    problems: Iterable[ConvProblem],
    group: Callable[[ConvProblem], Hashable],
    order: Callable[[ConvProblem], Any],
) -> Iterator[Problems]:
    """Yield the first problem of each group, in `order`, with each of the others."""
    groups: dict[Hashable, list[ConvProblem]] = {}
    for problem in sorted(problems, key=order):
        groups.setdefault(group(problem), []).append(problem)
    return ((first, other) for first, *others in groups.values() for other in others)


def bias_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield problems without and with a bias."""
    return _first_with_others(problems, lambda p: _fields_except(p, "bias"), lambda p: p.bias)


def padding_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield problems without and with padding."""
    found = _first_with_others(
        problems, lambda p: _fields_except(p, "padding"), lambda p: p.padding
    )
    return (pair for pair in found if not any(pair[0].padding))


def kernel_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield problems with two square kernels and the same output size."""
    return _first_with_others(
        (p for p in problems if len(set(p.kernel_size)) == 1),
        lambda p: (_fields_except(p, "kernel_size", "padding"), p.output_size),
        lambda p: p.kernel_size,
    )


def equal_mac_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield square problems of equal MACs, with as many output as input channels."""
    return _first_with_others(
        (
            p
            for p in problems
            if p.in_channels == p.out_channels and p.groups == 1 and len(set(p.input_size)) == 1
        ),
        lambda p: (_fields_except(p, "in_channels", "out_channels", "input_size"), p.macs),
        lambda p: p.in_channels,
    )


def channel_scaling_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield problems with twice the input channels, the output channels, or both."""
    for problem in problems:
        for more_in, more_out in ((2, 1), (1, 2), (2, 2)):
            wider = replace(
                problem,
                in_channels=more_in * problem.in_channels,
                out_channels=more_out * problem.out_channels,
            )
            if problem.groups == 1 and wider in problems:
                yield problem, wider


def volume_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Yield an image and a volume with equal numbers of outputs and of products per output."""
    plain = (
        p
        for p in problems
        if p.groups == 1 and {*p.stride, *p.dilation} == {1} and len(set(p.kernel_size)) == 1
    )
    found = _first_with_others(
        plain,
        lambda p: (
            p.batch_size,
            p.out_channels,
            p.bias,
            p.taps,
            math.prod(p.output_size),
            p.kernel_size[0],
        ),
        lambda p: p.rank,
    )
    return (pair for pair in found if [p.rank for p in pair] == [2, 3])
