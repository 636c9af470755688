"""What is flagged in samples, and what is left alone."""

from collections import Counter

import numpy as np
import pytest

from convsweep.analysis.sample_flags import (
    DISTURBED,
    FLAGS,
    OTHER_BITS,
    PROJECTED,
    QUANTIZED,
    RETRIED,
    UNNAMED,
    flags,
)

RNG = np.random.default_rng(7)


def steady(length: int, spread: float = 0.02) -> list[list[float]]:
    return [list(1e-4 * np.exp(RNG.normal(0, spread, length))) for _ in range(2)]


def test_steady_samples_are_hardly_ever_flagged() -> None:
    found = Counter(name for _ in range(500) for name in flags(steady(30)))
    assert sum(found.values()) <= 5


@pytest.mark.parametrize("blocks", [[], [[]], [[1e-4]], [[1e-4] * 50], [[1e-4, 2e-4]]])
def test_too_few_or_equal_samples_tell_nothing(blocks: list[list[float]]) -> None:
    assert flags(blocks) == ()


def test_a_steady_growth_is_a_drift() -> None:
    blocks = [list(np.linspace(1.0, 1.1, 20)), list(np.linspace(1.1, 1.2, 20))]
    assert "drift" in flags(blocks)
    assert "drift" in flags([list(reversed(block)) for block in reversed(blocks)])


def test_a_growth_too_small_to_matter_is_none() -> None:
    assert "drift" not in flags([list(np.linspace(1.0, 1.02, 40))])


def test_waves_are_autocorrelated() -> None:
    wave = 1 + 0.1 * np.sin(np.arange(60) / 3)
    assert flags([list(wave)]) == ("autocorrelated",)


def test_two_heights_are_two_modes() -> None:
    heights = RNG.choice([1.0, 1.2], 60) * np.exp(RNG.normal(0, 0.005, 60))
    assert flags([list(heights)]) == ("bimodal",)


def test_a_few_spikes_are_no_second_mode() -> None:
    samples = np.exp(RNG.normal(0, 0.005, 60))
    samples[[5, 25, 45]] *= 3
    assert flags([list(samples)]) == ()


@pytest.mark.parametrize(
    ("clocks_hz", "expected"),
    [
        ([], ()),
        ([None, None], ()),
        ([3e9], ()),
        ([3e9, 2.95e9], ()),
        ([3e9, None, 2e9], ("throttled",)),
        ([2e9, 3e9], ()),
    ],
)
def test_a_clock_that_falls_is_throttled(
    clocks_hz: list[float | None], expected: tuple[str, ...]
) -> None:
    assert flags(steady(3), clocks_hz) == expected


def test_every_flag_is_explained() -> None:
    assert list(FLAGS)[:4] == ["drift", "autocorrelated", "bimodal", "throttled"]
    assert list(FLAGS)[4:] == [OTHER_BITS, UNNAMED, DISTURBED, PROJECTED, QUANTIZED, RETRIED]
