"""pytest-benchmark on the pairs."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness.layers import make_layer
from bench.harness.pairs import LAYERS, requested_pairs
from convsweep.problems.problem import ConvProblem


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pair", requested_pairs(), ids=lambda pair: pair.label)
def test_layer(pair: ConvProblem, layer: str, benchmark: BenchmarkFixture) -> None:
    """Run one benchmark per layer."""
    torch.set_num_threads(1)
    benchmark.extra_info |= {"pair": pair.label, "layer": layer}
    benchmark(make_layer(pair, layer))
