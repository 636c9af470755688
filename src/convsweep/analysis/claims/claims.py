"""Claims of the lecture about cost, and the pairs of timings that test each of them."""

import math
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import predicted_share
from convsweep.results.schema import MARGIN

_FREE, _IN_PROPORTION = 0.05, 0.25

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


FindProblems = Callable[[Collection[ConvProblem]], Iterator[Problems]]
FindPairs = Callable[[Collection[Timing], str], Iterator[Pair]]
"""Function of the timings of one setting and the baseline."""


def equal_time(first: ConvProblem, second: ConvProblem) -> float:
    """Return the ratio 1."""
    return 1.0


def between_problems(
    find: FindProblems,
    claimed: Callable[[ConvProblem, ConvProblem], float] = lambda one, two: two.macs / one.macs,
) -> FindPairs:
    """Return a function that pairs two problems on the baseline; time is claimed as MACs."""

    def find_pairs(timed: Collection[Timing], baseline: str) -> Iterator[Pair]:
        own = (t.problem for t in timed if t.backend == baseline)
        problems = dict.fromkeys(problem for problem in own if not problem.transposed)
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
    left_out = (*names, "padding_end") if "padding" in names else names
    return tuple(getattr(problem, f.name) for f in fields(problem) if f.name not in left_out)


def _first_with_others(
    group: Callable[[ConvProblem], Hashable],
    order: Callable[[ConvProblem], Any],
    among: Callable[[ConvProblem], bool] = lambda problem: True,
    kept: Callable[[Problems], bool] = lambda pair: True,
) -> FindProblems:
    """Return a function that pairs the first problem of each group, in `order`, with the others."""

    def find(problems: Collection[ConvProblem]) -> Iterator[Problems]:
        groups: dict[Hashable, list[ConvProblem]] = {}
        for problem in sorted(filter(among, problems), key=order):
            groups.setdefault(group(problem), []).append(problem)
        return filter(
            kept, ((first, other) for first, *others in groups.values() for other in others)
        )

    return find


bias_pairs = _first_with_others(lambda p: _fields_except(p, "bias"), lambda p: p.bias)
"""Problems without and with a bias."""
padding_pairs = _first_with_others(
    lambda p: _fields_except(p, "padding", "padding_end"),
    lambda p: p.padding,
    kept=lambda pair: not any(map(any, pair[0].margins)),
)
"""Problems without and with padding."""
kernel_pairs = _first_with_others(
    lambda p: (_fields_except(p, "kernel_size", "padding", "padding_end"), p.output_size),
    lambda p: p.kernel_size,
    among=lambda p: len({*p.kernel_size}) == 1,
)
"""Problems with two square kernels and the same output size."""
equal_mac_pairs = _first_with_others(
    lambda p: (_fields_except(p, "in_channels", "out_channels", "input_size"), p.macs),
    lambda p: p.in_channels,
    among=lambda p: p.in_channels == p.out_channels and p.groups == 1 and len({*p.input_size}) == 1,
)
"""Square problems of equal MACs, with as many output as input channels."""
volume_pairs = _first_with_others(
    lambda p: (
        (p.batch_size, p.out_channels, p.bias, p.taps, math.prod(p.output_size), p.kernel_size[0])
    ),
    lambda p: p.rank,
    among=lambda p: (
        p.groups == 1 and {*p.stride, *p.dilation} == {1} and len({*p.kernel_size}) == 1
    ),
    kept=lambda pair: [p.rank for p in pair] == [2, 3],
)
"""An image and a volume with equal numbers of outputs and of products per output."""


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


@dataclass(frozen=True)
class Claim:
    """One statement of the lecture and its test."""

    statement: str
    code: str  # the comparison in terms of this package; `{baseline}` is that of the run
    find_pairs: FindPairs
    tolerance: float
    """The claim holds if measured / claimed is within a factor of 1 + tolerance of 1."""
    below: bool = False
    """Whether it claims less time: it then holds if the ratio is below 1 / (1 + tolerance)."""

    @property
    def band(self) -> tuple[float, float]:
        """The ratios between which it holds."""
        low = 1 / (1 + self.tolerance)
        return (0.0, low) if self.below else (low, 1 + self.tolerance)


# fmt: off
CLAIMS = (
    Claim("A bias costs next to nothing", "bias=1 against bias=0 on {baseline}",
          between_problems(bias_pairs, equal_time), _FREE),
    Claim("Padding costs nothing",
          "padding above 0 against padding=0 on {baseline}, the same input and kernel",
          between_problems(padding_pairs, equal_time), _FREE),
    Claim("Padding costs only the outputs that it adds",
          "the same, time over MACs, padded taps counted",
          between_problems(padding_pairs), _FREE),
    Claim("A 1x1 convolution is a matrix product", "pointwise against {baseline} at kernel_size=1",
          between_backends("pointwise"), _IN_PROPORTION),
    Claim("A 1x1 convolution is a fully connected layer over pixels",
          "linear (nn.Linear's product; channels moved last and back if needed) against {baseline}",
          between_backends("linear"), _IN_PROPORTION),
    Claim("Halving the size and doubling the channels keeps the work",
          "problems of equal MACs against the one of fewest channels, on {baseline}",
          between_problems(equal_mac_pairs), _IN_PROPORTION),
    Claim("Cost is proportional to input channels times output channels",
          "twice in_channels, twice out_channels, both, against neither, on {baseline}",
          between_problems(channel_scaling_pairs), _IN_PROPORTION),
    Claim("Cost grows with the square of the kernel's size",
          "larger kernels against the smallest on {baseline}, padded to the same output",
          between_problems(kernel_pairs), _IN_PROPORTION),
    Claim("A 3-D convolution is the same sum with one more dimension",
          "a volume against an image on {baseline}, as many outputs, each of as many products",
          between_problems(volume_pairs), _IN_PROPORTION),
    Claim("Separable layers are cheap", "separable against {baseline}",
          between_backends("separable"), MARGIN, below=True),
    Claim("A separable layer costs 1/C_out + 1/k² of the standard one",
          "the same, against that share of the time",
          between_backends("separable", predicted_share), _IN_PROPORTION),
)
# fmt: on
