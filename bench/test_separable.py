"""Benchmark of standard and depthwise-separable layers of MobileNetV1.

A round takes a millisecond, so that the clock's cost is below 0.01 % of it.
"""

from collections.abc import Callable

import pytest

GRID = "mobilenet"


@pytest.mark.benchmark(warmup=True, min_time=0.001, max_time=0.3, min_rounds=5, disable_gc=True)
def test_standard_or_separable(measure: Callable[[], None]) -> None:
    measure()
