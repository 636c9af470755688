"""Parts of a call over several processes, with intervals; they add up to the whole call."""

from collections.abc import Mapping, Sequence

import numpy as np

from convsweep.analysis.estimates import Interval, estimate, plain_interval
from convsweep.results.call_parts import PARTS, UNATTRIBUTED, WHOLE


def divide(whole_s: Sequence[float], parts: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Return the whole call, its parts, and what they leave: one value of each per process.

    A part that a process did not find took no time there. Steps of a strategy come first. The rest
    is the whole less the parts, so that all add up; it may be negative.
    """
    found_names = dict.fromkeys(name for one in parts for name in one)
    names = sorted(found_names, key=lambda name: PARTS.index(name) if name in PARTS else -1)
    values = {name: np.array([one.get(name, 0.0) for one in parts]) for name in names}
    rest = np.array(whole_s) - sum(values.values())
    every = {WHOLE: np.array(whole_s), **values}
    found = {name: plain_interval(estimate(own)) for name, own in every.items()}
    left = found[WHOLE].value - sum(found[name].value for name in names)
    value, low, high = plain_interval(estimate(rest))
    shift = left - value  # from five processes on the mean is trimmed, and so does not add up
    return found | {UNATTRIBUTED: Interval(left, low + shift, high + shift)}
