"""Claims of the lecture about cost, and the pairs of timings that test each of them."""

from __future__ import annotations

from dataclasses import dataclass

from convsweep.analysis.claims.pairs import (
    FindPairs,
    between_backends,
    between_problems,
    bias_pairs,
    channel_scaling_pairs,
    equal_mac_pairs,
    equal_time,
    kernel_pairs,
    padding_pairs,
    volume_pairs,
)
from convsweep.problems.separable import predicted_share
from convsweep.results.schema import MARGIN

_FREE, _IN_PROPORTION = 0.05, 0.25


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
