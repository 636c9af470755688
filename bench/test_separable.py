"""Standard against depthwise-separable, on eight of MobileNetV1's layers.

A round lasts a millisecond, so that the clock costs below a ten-thousandth of it.
"""

from collections.abc import Callable

import pytest

GRID = "mobilenet"


@pytest.mark.benchmark(warmup=True, min_time=0.001, max_time=0.3, min_rounds=5, disable_gc=True)
def test_standard_or_separable(measure: Callable[[], None]) -> None:
    measure()
