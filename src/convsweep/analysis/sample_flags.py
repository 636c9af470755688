"""What is unsteady about the samples of one case in one pass: flags, for a reader to doubt it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FLAGS = {
    "drift": "samples grow or shrink steadily within the pass",
    "autocorrelated": "neighbouring samples resemble each other: they tell less than their number",
    "bimodal": "samples gather around two values",
    "throttled": "the core's clock was slower at the end than at the start",
}
"""Each flag, and what it means."""

_FEWEST = 12  # samples; fewer tell nothing
_SURE = 3.3  # standard deviations: one steady series in a thousand is beyond
_MATTERS = 0.03  # differences below this part of the median are no matter
_THROTTLED = 0.95  # of the clock at the start


def flags(
    blocks: Sequence[Sequence[float]], clocks_hz: Sequence[float | None] = ()
) -> tuple[str, ...]:
    """The names of what is unsteady, in the order of `FLAGS`.

    Args:
        blocks: the samples, in seconds, in the order of time.
        clocks_hz: readings of the core's clock in the order of time, None where it can't be read.
    """
    found = []
    samples = np.concatenate([*map(np.asarray, blocks), np.empty(0)])
    if len(samples) >= _FEWEST and np.ptp(samples) > 0:
        if _drifts(samples):
            found.append("drift")
        if _resemble(blocks):
            found.append("autocorrelated")
        if _two_modes(samples):
            found.append("bimodal")
    read = [clock for clock in clocks_hz if clock]
    if len(read) > 1 and read[-1] < _THROTTLED * read[0]:
        found.append("throttled")
    return tuple(found)


def _drifts(samples: NDArray[np.float64]) -> bool:
    """A rank correlation with time, and a change between first and last third that matters."""
    third = len(samples) // 3
    first, last = np.median(samples[:third]), np.median(samples[-third:])
    if abs(last - first) < _MATTERS * np.median(samples):
        return False
    return abs(_correlation(np.arange(float(len(samples))), _ranks(samples))) > _SURE


def _resemble(blocks: Sequence[Sequence[float]]) -> bool:
    """The lag-1 correlation of ranks within blocks, the blocks' own levels taken out."""
    ranked = [_ranks(np.asarray(block)) / len(block) for block in blocks if len(block) > 1]
    if not ranked:
        return False
    before = np.concatenate([ranks[:-1] for ranks in ranked])
    after = np.concatenate([ranks[1:] for ranks in ranked])
    return len(before) >= _FEWEST and _correlation(before, after) > _SURE


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places from 0 on; equal values share the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    places: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return places


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's coefficient in units of its standard deviation under independence."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1] * np.sqrt(len(first) - 1))


def _two_modes(samples: NDArray[np.float64]) -> bool:
    """Two groups, each a fifth of the samples or more, far apart against what is within them."""
    ordered = np.sort(samples)
    least = max(2, len(ordered) // 5)
    gaps = np.diff(ordered)[least - 1 : len(ordered) - least]
    if not len(gaps):
        return False
    split = int(gaps.argmax()) + least
    low, high = ordered[:split], ordered[split:]
    apart = np.median(high) - np.median(low)
    within = max(np.median(np.abs(part - np.median(part))) for part in (low, high))
    wide = gaps.max() > max(4 * within, 0.5 * apart)
    return bool(wide and apart > _MATTERS * np.median(samples))
