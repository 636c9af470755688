"""Benchmark of every strategy on every problem of a grid (`--grid`, by default quick).

A round takes a millisecond, so that the clock's cost is below 0.01 % of it.
"""

from collections.abc import Callable

import pytest

GRID = "quick"


@pytest.mark.benchmark(warmup=True, min_time=0.001, max_time=0.1, min_rounds=3, disable_gc=True)
def test_strategy(measure: Callable[[], None]) -> None:
    measure()
