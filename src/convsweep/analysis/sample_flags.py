"""Flags for unsteady samples of one case in one pass."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OTHER_BITS = "other_bits"
PROJECTED, QUANTIZED, RETRIED = "projected", "quantized", "retried"
UNNAMED, DISTURBED = "no implementation", "trace disturbed"
OF_TRACE = (UNNAMED, DISTURBED)
MOST_TRACED = 1.25  # times the median time: other work disturbed a longer trace
FLAGS = {
    "drift": "samples grow or shrink within the pass",
    "autocorrelated": "consecutive samples are correlated: the effective sample size is smaller",
    "bimodal": "samples cluster around two values",
    "throttled": "the core's clock was slower at the end of the pass",
    OTHER_BITS: "the output has other bits than in earlier passes, and was checked again",
    UNNAMED: "no library tells what a call runs; the reason follows",
    DISTURBED: f"kernel_s and reorder_s are more than {MOST_TRACED} times the median time",
    PROJECTED: "the output was checked by signed sums and a part in full; errors are of that part",
    QUANTIZED: "int8 is another function: only its signal-to-noise ratio was checked",
    RETRIED: "measured in a second attempt, after a timeout that the backend does not explain",
}
"""Each flag and its meaning."""

_MIN_SAMPLES = 12
_SIGNIFICANT = 3.3  # standard deviations: exceeded by one steady series in a thousand
_MIN_CHANGE = 0.03  # share of the median; smaller differences are ignored
_THROTTLED = 0.95  # of the clock at the start


def flags(
    blocks: Sequence[Sequence[float]], clocks_hz: Sequence[float | None] = ()
) -> tuple[str, ...]:
    """Return the flags of the samples that apply, in the order of `FLAGS`.

    Args:
        blocks: samples in seconds, in the order of time.
        clocks_hz: readings of the core's clock in the order of time; None if unreadable.
    """
    found = []
    samples = np.concatenate([*map(np.asarray, blocks), np.empty(0)])
    if len(samples) >= _MIN_SAMPLES and np.ptp(samples) > 0:
        if _drifts(samples):
            found.append("drift")
        if _autocorrelated(blocks):
            found.append("autocorrelated")
        if _bimodal(samples):
            found.append("bimodal")
    read = [clock for clock in clocks_hz if clock]
    if len(read) > 1 and read[-1] < _THROTTLED * read[0]:
        found.append("throttled")
    return tuple(found)


def _drifts(samples: NDArray[np.float64]) -> bool:
    """Check for a rank correlation with time and a change from the first to the last third."""
    third = len(samples) // 3
    first, last = median(np.sort(samples[:third])), median(np.sort(samples[-third:]))
    if abs(last - first) < _MIN_CHANGE * median(np.sort(samples)):
        return False
    return abs(_correlation(np.arange(float(len(samples))), _ranks(samples))) > _SIGNIFICANT


def _autocorrelated(blocks: Sequence[Sequence[float]]) -> bool:
    """Check the lag-1 rank correlation within blocks; levels of blocks do not count."""
    ranked = [_ranks(np.asarray(block)) / len(block) for block in blocks if len(block) > 1]
    if not ranked:
        return False
    before = np.concatenate([ranks[:-1] for ranks in ranked])
    after = np.concatenate([ranks[1:] for ranks in ranked])
    return len(before) >= _MIN_SAMPLES and _correlation(before, after) > _SIGNIFICANT


def median(ordered: NDArray[np.float64]) -> float:
    """Return the median of sorted values, in a fifth of the time of `np.median`."""
    half = len(ordered) // 2
    return float(ordered[half] + ordered[~half]) / 2


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 0; equal values share their mean rank."""
    ordered = np.sort(values)
    places: NDArray[np.float64] = ordered.searchsorted(values) / 2
    return places + (ordered.searchsorted(values, "right") - 1) / 2


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Pearson's coefficient over its standard deviation under independence."""
    x, y = first - first.sum() / len(first), second - second.sum() / len(second)
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size * np.sqrt(len(x) - 1)) if size else 0.0


def _bimodal(samples: NDArray[np.float64]) -> bool:
    """Check for two groups of at least a fifth of the samples, apart more than they are wide."""
    ordered = np.sort(samples)
    least = max(2, len(ordered) // 5)
    gaps = np.diff(ordered)[least - 1 : len(ordered) - least]
    if not len(gaps):
        return False
    split = int(gaps.argmax()) + least
    parts = ordered[:split], ordered[split:]
    low, high = middles = [*map(median, parts)]
    within = max(median(np.sort(np.abs(p - m))) for p, m in zip(parts, middles, strict=True))
    wide = gaps.max() > max(4 * within, 0.5 * (high - low))
    return bool(wide and high - low > _MIN_CHANGE * median(ordered))
