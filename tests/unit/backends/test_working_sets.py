"""Sizes of tiles and bands for machines that differ in caches and rates."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.kernels.machines import AVX512
from convsweep.backends.kernels.winograd_tiles import (
    TILES,
    best_tile,
    tiles_per_reading,
    weights_stay,
)
from convsweep.backends.kernels.working_sets import WorkingSets, working_sets
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import workloads
from convsweep.system.calibration import Machine

AVX2 = Machine()
SMALL = Machine(l1_bytes=2**12, l2_bytes=2**15, last_cache_bytes=2**15)
HUGE = Machine(l1_bytes=2**18, l2_bytes=2**26, last_cache_bytes=2**30)
MACHINES = [AVX2, AVX512, SMALL, HUGE]
LAYERS = [
    layer.problem
    for name in ("vgg16", "resnet50")
    for layer in workloads()[name]
    if (layer.problem.kernel_size, layer.problem.stride) == ((3, 3), (1, 1))
]
rates = st.floats(1e8, 1e13)


def test_on_the_machine_that_tuned_them_sizes_are_what_was_tuned() -> None:
    assert working_sets(AVX2) == WorkingSets(2**18, 24 * 2**10, 2**14, 2**17, 2**19)


@pytest.mark.parametrize("machine", MACHINES)
def test_sizes_fit_into_their_caches(machine: Machine) -> None:
    sets = working_sets(machine)
    assert sets.plane < sets.panel < machine.l1_bytes
    assert sets.block < sets.band < machine.l2_bytes


def test_larger_caches_never_have_smaller_sizes() -> None:
    ordered = [working_sets(machine) for machine in (SMALL, AVX2, AVX512, HUGE)]
    for less, more in pairwise(ordered):
        assert all(a <= b for a, b in zip(less, more, strict=True))


@given(macs=rates, near=rates, far=rates, l2=rates)
def test_every_machine_has_a_tile_and_reads_weights_for_at_least_one_tile(
    macs: float, near: float, far: float, l2: float
) -> None:
    machine = Machine(
        macs_per_s=macs, l2_bytes_per_s=l2, last_cache_bytes_per_s=near, memory_bytes_per_s=far
    )
    for problem in LAYERS:
        tile = best_tile(problem, machine)
        assert tile in TILES
        assert tiles_per_reading(problem, tile, machine) >= 1


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("tile", TILES)
def test_faster_products_need_more_tiles_per_reading(machine: Machine, tile: int) -> None:
    faster = replace(machine, macs_per_s=2 * machine.macs_per_s)
    for problem in LAYERS:
        one, two = (tiles_per_reading(problem, tile, known) for known in (machine, faster))
        assert one <= two <= 2 * one + 1


def test_slow_memory_prefers_small_tiles_of_large_weights() -> None:
    deep = ConvProblem(512, 512, (7, 7), 3, padding=1)
    slow = replace(AVX2, last_cache_bytes=2**20, memory_bytes_per_s=1e9)
    fast = replace(AVX2, last_cache_bytes=2**30, last_cache_bytes_per_s=1e12)
    assert not weights_stay(deep, 2, slow)
    assert best_tile(deep, slow) == 2 <= best_tile(deep, fast)


def test_large_images_have_large_tiles() -> None:
    for machine in MACHINES:
        tiles = [
            best_tile(ConvProblem(64, 64, (n, n), 3, padding=1), machine) for n in (8, 56, 224)
        ]
        assert tiles == sorted(tiles)
        assert tiles[-1] > 2
