"""Pairs of a run's timings that differ in one way, and the ratio of their times to hold them to."""

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
    """Two timings of one run, and what the lecture says of them."""

    first: Timing
    second: Timing
    claimed: float
    """Seconds of the second / seconds of the first."""


Find = Callable[[Collection[Timing], str], Iterator[Pair]]
"""The pairs among a setting's timings that a claim is about; those of problems on the baseline."""


def as_long(first: ConvProblem, second: ConvProblem) -> float:
    """The second takes the first's time."""
    return 1.0


def as_its_macs(first: ConvProblem, second: ConvProblem) -> float:
    """Every multiply-accumulate takes the same time."""
    return second.macs / first.macs


def between_problems(
    find: Callable[[Collection[ConvProblem]], Iterator[Problems]],
    claimed: Callable[[ConvProblem, ConvProblem], float] = as_its_macs,
) -> Find:
    """Two problems on the baseline."""

    def pairs(timed: Collection[Timing], baseline: str) -> Iterator[Pair]:
        problems = dict.fromkeys(t.problem for t in timed if t.backend == baseline)
        for first, second in find(problems):
            yield Pair(Timing(first, baseline), Timing(second, baseline), claimed(first, second))

    return pairs


def between_backends(
    backend: str, claimed: Callable[[ConvProblem], float] = lambda problem: 1.0
) -> Find:
    """One problem on the baseline, and on another backend."""

    def pairs(timed: Collection[Timing], baseline: str) -> Iterator[Pair]:
        for second in timed:
            first = second._replace(backend=baseline)
            if second.backend == backend != baseline and first in timed:
                yield Pair(first, second, claimed(second.problem))

    return pairs


def _but(problem: ConvProblem, *names: str) -> Hashable:
    """Every part of a problem except those."""
    return tuple(getattr(problem, f.name) for f in fields(problem) if f.name not in names)


def _against_the_first(
    problems: Iterable[ConvProblem],
    alike: Callable[[ConvProblem], Hashable],
    order: Callable[[ConvProblem], Any],
) -> Iterator[Problems]:
    """Of problems that are `alike`, the first in order with each of the others."""
    families: dict[Hashable, list[ConvProblem]] = {}
    for problem in sorted(problems, key=order):
        families.setdefault(alike(problem), []).append(problem)
    return ((first, other) for first, *others in families.values() for other in others)


def biases(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Without a bias and with one."""
    return _against_the_first(problems, lambda p: _but(p, "bias"), lambda p: p.bias)


def paddings(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Without padding and with some."""
    found = _against_the_first(problems, lambda p: _but(p, "padding"), lambda p: p.padding)
    return (pair for pair in found if not any(pair[0].padding))


def kernels(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """Kernels with equal sides whose padding keeps the output's size."""
    return _against_the_first(
        (p for p in problems if len(set(p.kernel_size)) == 1),
        lambda p: (_but(p, "kernel_size", "padding"), p.output_size),
        lambda p: p.kernel_size,
    )


def equal_mac_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """As many channels out as in, on images with equal sides, at exactly the same MACs."""
    return _against_the_first(
        (
            p
            for p in problems
            if p.in_channels == p.out_channels and p.groups == 1 and len(set(p.input_size)) == 1
        ),
        lambda p: (_but(p, "in_channels", "out_channels", "input_size"), p.macs),
        lambda p: p.in_channels,
    )


def channel_scaling_pairs(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """A problem with the same of twice the input channels, the output channels, or both."""
    for problem in problems:
        for more_in, more_out in ((2, 1), (1, 2), (2, 2)):
            wider = replace(
                problem,
                in_channels=more_in * problem.in_channels,
                out_channels=more_out * problem.out_channels,
            )
            if problem.groups == 1 and wider in problems:
                yield problem, wider


def volumes(problems: Collection[ConvProblem]) -> Iterator[Problems]:
    """An image and a volume with as many outputs, each the sum of as many products."""
    plain = (
        p
        for p in problems
        if p.groups == 1 and {*p.stride, *p.dilation} == {1} and len(set(p.kernel_size)) == 1
    )
    found = _against_the_first(
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
