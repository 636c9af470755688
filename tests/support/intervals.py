"""The interval that a run's passes give, for tests to hold others against."""

import numpy as np

from convsweep.analysis.estimates import Interval, estimate, interval


def geometric_interval(values: np.ndarray) -> Interval:
    """Of positive values, one a pass."""
    return interval(estimate(np.log(values)))
