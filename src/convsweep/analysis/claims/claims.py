"""What the lecture says of cost, and which pairs of timings show it."""

from __future__ import annotations

from dataclasses import dataclass

from convsweep.analysis.claims.pairs import (
    Find,
    as_long,
    between_backends,
    between_problems,
    biases,
    channel_scaling_pairs,
    equal_mac_pairs,
    kernels,
    paddings,
    volumes,
)
from convsweep.problems.separable import predicted_share
from convsweep.results.store import MARGIN

_FREE, _IN_PROPORTION = 0.05, 0.25


@dataclass(frozen=True)
class Claim:
    """A sentence of the lecture, and what must be measured of it."""

    statement: str
    code: str
    """What is compared, in the words of this code; `{baseline}` is the run's."""
    told: str
    """The finding in words; `{times}` is the measured ratio over the claimed one."""
    pairs: Find
    tolerance: float
    """It holds where measured / claimed is within a factor of 1 + tolerance of 1."""
    below: bool = False
    """It claims less instead: then it holds where the ratio is below 1 / (1 + tolerance)."""

    @property
    def band(self) -> tuple[float, float]:
        """Between which ratios it holds."""
        low = 1 / (1 + self.tolerance)
        return (0.0, low) if self.below else (low, 1 + self.tolerance)


CLAIMS = (
    Claim(
        "A bias costs next to nothing",
        "bias=1 against bias=0 on {baseline}",
        "with a bias a convolution takes {times} times as long as without",
        between_problems(biases, as_long),
        _FREE,
    ),
    Claim(
        "Padding costs nothing",
        "padding above 0 against padding=0 on {baseline}, the same input and kernel",
        "with padding a convolution takes {times} times as long as without",
        between_problems(paddings, as_long),
        _FREE,
    ),
    Claim(
        "Padding costs only the outputs that it adds",
        "the same, time over MACs, padded taps counted",
        "with padding a multiply-accumulate takes {times} times as long as without",
        between_problems(paddings),
        _FREE,
    ),
    Claim(
        "A 1x1 convolution is a matrix product",
        "pointwise against {baseline} at kernel_size=1",
        "the matrix product takes {times} times as long as {baseline}",
        between_backends("pointwise"),
        _IN_PROPORTION,
    ),
    Claim(
        "A 1x1 convolution is a fully connected layer over pixels",
        "linear (nn.Linear's product; channels move last and back if need be) against {baseline}",
        "the fully connected layer takes {times} times as long as {baseline}",
        between_backends("linear"),
        _IN_PROPORTION,
    ),
    Claim(
        "Halving the size and doubling the channels keeps the work",
        "rungs of exactly equal MACs against the one of fewest channels, on {baseline}",
        "at equal multiply-accumulates the deeper rungs take {times} times as long as the first",
        between_problems(equal_mac_pairs),
        _IN_PROPORTION,
    ),
    Claim(
        "Cost is proportional to input channels times output channels",
        "twice in_channels, twice out_channels, both, against neither, on {baseline}",
        "a multiply-accumulate of the wider layer takes {times} times as long",
        between_problems(channel_scaling_pairs),
        _IN_PROPORTION,
    ),
    Claim(
        "Cost grows with the square of the kernel's size",
        "larger kernels against the smallest on {baseline}, padded to the same output",
        "a multiply-accumulate of the larger kernel takes {times} times as long",
        between_problems(kernels),
        _IN_PROPORTION,
    ),
    Claim(
        "A 3-D convolution is the same sum with one more dimension",
        "a volume against an image on {baseline}, as many outputs, each of as many products",
        "at equal multiply-accumulates the volume takes {times} times as long as the image",
        between_problems(volumes),
        _IN_PROPORTION,
    ),
    Claim(
        "Separable layers are cheap",
        "separable against {baseline}",
        "the separable layer takes {times} times as long as {baseline}",
        between_backends("separable"),
        MARGIN,
        below=True,
    ),
    Claim(
        "A separable layer costs 1/C_out + 1/k² of the standard one",
        "the same, against that share",
        "the separable layer takes {times} times as long as its share of the MACs says",
        between_backends("separable", predicted_share),
        _IN_PROPORTION,
    ),
)
