"""Signal-to-noise ratio of an output, by which a quantised backend is judged."""

import math

from convsweep.measure.outcome import Outcome

MIN_SQNR_DB = 10.0
"""Least signal-to-noise ratio of a quantised output: noise of a third of the signal. int8 has 25 to
45 dB; an output without its bias has 3 dB, zeros 0 dB, that of another input less."""


def decibels(signal: float, noise: float) -> float | None:
    """Return the signal-to-noise ratio of two sums of squares in dB; None if one is 0."""
    return 10 * math.log10(signal / noise) if signal and noise else None


def is_noise(result: Outcome, bound: float) -> bool:
    """Whether a quantised output, whose error has no bound, is not an output of the problem."""
    return math.isinf(bound) and result.sqnr_db is not None and result.sqnr_db < MIN_SQNR_DB
