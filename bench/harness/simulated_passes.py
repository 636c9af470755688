"""Simulated passes with known values and the disturbances of real machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]

SAMPLES, ROUNDS = 30, 5
"""Samples and blocks of a case per pass."""
BURST_BLOCKS = 3


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Disturbances of a baseline and a backend, as fractions of a time."""

    name: str
    description: str
    pass_deviation: tuple[float, float] = (0.01, 0.06)
    """Range of the standard deviation between processes, drawn per backend."""
    sample_deviation: float = 0.01
    sample_correlation: float = 0.6
    """Correlation of consecutive samples."""
    spiked_samples: float = 0.0
    """Fraction of samples that take 10 to 50 % longer."""
    slow_passes: float = 0.0
    """Fraction of passes that take 10 to 50 % longer; the backend gets 50 to 100 % of that."""
    drift_deviation: float = 0.0
    """Deviation of the machine's speed between passes; the backend has 80 to 100 % of it."""
    drift_correlation: float = 0.8
    bursts: float = 0.0
    """Fraction of blocks that take 10 to 50 % longer; three in a row on average."""


SCENARIOS = (
    Scenario(name="calm", description="processes differ by 1 to 6 %"),
    Scenario(
        name="spikes", description="and 5 % of samples take 10 to 50 % longer", spiked_samples=0.05
    ),
    Scenario(
        name="slow passes",
        description="and 5 % of passes take 10 to 50 % longer",
        spiked_samples=0.03,
        slow_passes=0.05,
    ),
    Scenario(
        name="shared",
        description="processes differ by 0.5 to 1.5 %, and 15 % of passes take 10 to 50 % longer",
        pass_deviation=(0.005, 0.015),
        spiked_samples=0.03,
        slow_passes=0.15,
    ),
    Scenario(
        name="drift",
        description="processes differ by 1 to 6 %, and the machine's speed wanders by 5 %",
        spiked_samples=0.03,
        drift_deviation=0.05,
    ),
    Scenario(
        name="rough",
        description="and 15 % of passes take 10 to 50 % longer",
        spiked_samples=0.05,
        slow_passes=0.15,
        drift_deviation=0.05,
    ),
)


BURSTS = Scenario(
    name="bursts",
    description="processes differ by 0.5 to 1.5 %, and 20 % of blocks take 10 to 50 % longer",
    pass_deviation=(0.005, 0.015),
    spiked_samples=0.03,
    bursts=0.2,
)
"""Only for estimators that use blocks."""


class SimulatedPasses(NamedTuple):
    """Simulated runs: logarithms of seconds (runs, passes) and their deviations."""

    log_speedup: Array
    log_time: Array
    speedup_deviation: Array
    """(runs); of the process effects."""
    time_deviation: Array


def draw(
    scenario: Scenario, generator: np.random.Generator, runs: int, passes: int
) -> SimulatedPasses:
    """Simulate `runs` runs; the time of a pass is the median of its samples."""
    logs, slow, deviation = _logs(scenario, generator, runs, passes)
    logs += slow + np.median(_samples(scenario, generator, logs.shape), axis=-1)
    return SimulatedPasses(logs[0] - logs[1], logs[1], np.hypot(*deviation), deviation[1])


def draw_blocks(
    scenario: Scenario, generator: np.random.Generator, runs: int, passes: int
) -> Array:
    """Return log times (2, runs, passes, ROUNDS, samples per block) of baseline and backend.

    The two are equally fast on an undisturbed machine.
    """
    logs, slow, _ = _logs(scenario, generator, runs, passes)
    logs += slow
    samples = _samples(scenario, generator, logs.shape)
    samples = samples.reshape(*logs.shape, ROUNDS, SAMPLES // ROUNDS)
    bursts = _bursts(scenario, generator, logs.shape[1:])
    return np.asarray(logs[..., np.newaxis, np.newaxis] + samples + bursts)


def _bursts(scenario: Scenario, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return the log slowdown (2, runs, passes, ROUNDS, 1) of blocks, which take turns."""
    slow = np.zeros(shape)
    blocks = np.empty((2 * ROUNDS, *shape))
    rare = scenario.bursts / (1 - scenario.bursts) / BURST_BLOCKS
    for block in range(2 * ROUNDS):
        chance = np.where(slow > 0, 1 - 1 / BURST_BLOCKS, rare if block else scenario.bursts)
        fresh = np.where(slow > 0, slow, generator.uniform(0.1, 0.5, shape))
        slow = np.where(generator.random(shape) < chance, fresh, 0.0)
        blocks[block] = slow
    paired = np.log1p(blocks.reshape(ROUNDS, 2, *shape))
    return np.asarray(np.moveaxis(paired, (0, 1), (-1, 0))[..., np.newaxis])


def _logs(
    scenario: Scenario, generator: np.random.Generator, runs: int, passes: int
) -> tuple[Array, Array, Array]:
    """Return the processes' log times, those of slow passes, and deviations per run.

    The shapes are (2, runs, passes) and (2, runs), of baseline and backend.
    """
    shape = (2, runs, passes)
    deviation = generator.uniform(*scenario.pass_deviation, size=(2, runs, 1))
    logs = deviation * generator.normal(size=shape)
    drift_share = np.stack([np.ones(runs), generator.uniform(0.8, 1, runs)])[..., np.newaxis]
    logs += (
        drift_share
        * scenario.drift_deviation
        * _wander(generator, (runs, passes), scenario.drift_correlation)
    )
    slow = generator.random((runs, passes)) < scenario.slow_passes
    slowdown = slow * generator.uniform(0.1, 0.5, size=(runs, passes))
    part = np.stack([np.ones((runs, passes)), generator.uniform(0.5, 1, (runs, passes))])
    return logs, np.log1p(part * slowdown), deviation[..., 0]


def _samples(scenario: Scenario, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return the deviations of SAMPLES samples from their process."""
    shape = (*shape, SAMPLES)
    noise = _wander(generator, shape, scenario.sample_correlation)
    spiked = generator.random(shape) < scenario.spiked_samples
    spikes = np.log1p(spiked * generator.uniform(0.1, 0.5, shape))
    return np.asarray(scenario.sample_deviation * noise + spikes)


def _wander(generator: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Array:
    """Return an AR(1) series on the last axis with standard deviation 1."""
    steps = generator.normal(size=shape)
    steps[..., 1:] *= np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1], [1, -correlation], steps))
