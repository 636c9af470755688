"""Intervals of a run with the drift between repeated runs, on simulated runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from bench.harness.interval_methods import Array
from bench.harness.verdict_errors import Row
from convsweep.analysis.drift import estimate_drift
from convsweep.analysis.estimates import Estimate, estimate, half_width, widened

RUNS = (3, 4, 6, 8, 30)
COMPARISONS, PASSES, PASS_DEVIATION = 8, 8, 0.05
TRIALS = 1000
METHODS = ("within the run", "one drift", "drift of each")
"""An interval without the drift, with that of all comparisons, and with that of its own."""


class RunDrift(NamedTuple):
    """How the comparisons of a run drift."""

    deviations: Array  # of the log speedup, one per comparison
    common: float  # share of the variance that all comparisons have in common


_LIKE = np.full(COMPARISONS, 0.04)
DRIFTS: Mapping[str, RunDrift] = {
    "common to all comparisons": RunDrift(_LIKE, 1.0),
    "half of it common": RunDrift(_LIKE, 0.5),
    "of each comparison": RunDrift(_LIKE, 0.0),
    "two comparisons drift more": RunDrift(np.repeat([0.02, 0.08], [6, 2]), 0.0),
    "none": RunDrift(0 * _LIKE, 0.0),
}


def _draw(drift: RunDrift, runs: int, generator: np.random.Generator) -> Estimate:
    """Return estimates of a speedup of 1, (runs, comparisons)."""
    shares = np.sqrt([drift.common, 1 - drift.common])
    common, own = generator.normal(size=(runs, 1)), generator.normal(size=(runs, COMPARISONS))
    of_run = drift.deviations * (shares[0] * common + shares[1] * own)
    passes = generator.normal(0, PASS_DEVIATION, size=(runs, COMPARISONS, PASSES))
    return estimate(of_run[..., np.newaxis] + passes)


def drifts(scenario: str, runs: int, trials: int = TRIALS) -> Iterator[Row]:
    """Return the coverage of the intervals of a run, with the drift of it and of further runs.

    One row per method, and one for the comparisons that drift more, if some do.
    """
    generator, drift = np.random.default_rng([6, runs]), DRIFTS[scenario]
    errors, halves = [], []
    for _ in range(trials):
        every = _draw(drift, runs, generator)
        found, own = estimate_drift(*every[:2]), Estimate(*(part[0] for part in every))
        known = (None, found.error, found.of_comparisons)
        errors.append(abs(own.mean))
        halves.append([half_width(widened(own, one)) for one in known])
    most = drift.deviations == drift.deviations.max()
    parts = {"": ~most | most} | ({} if most.all() else {": those": most})
    for part, places in parts.items():
        for method, half in zip(METHODS, np.array(halves).swapaxes(0, 1), strict=True):
            yield {
                "study": "drift",
                "scenario": scenario + part,
                "passes": runs,
                "method": method,
                "trials": trials,
                "coverage": (np.array(errors) <= half)[:, places].mean(),
                "width": 2 * np.median(half[:, places]),
            }
