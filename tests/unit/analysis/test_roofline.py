"""The machine's ceilings: measured as cases, and what they allow each case."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.analysis.cases import split
from convsweep.analysis.roofline import CACHE, COMPUTE, MEMORY, Roof, limits
from convsweep.analysis.summary import summarize
from convsweep.backends.roofline_probes import PROBE_BACKENDS, PROBE_PASSES, roofline_probes
from convsweep.measure.gate import setup_group, validate
from convsweep.measure.settings import Settings
from convsweep.problems.case import cross
from convsweep.problems.grids import GRIDS
from convsweep.problems.separable import depthwise_part, pointwise_part
from convsweep.results.schema import ROOFLINE, SEPARABLE_PART
from convsweep.results.store import load
from convsweep.sweep.auxiliary_cases import ceiling_cases, separable_part_cases
from convsweep.sweep.forecast import forecast_s, pass_count
from convsweep.sweep.request import Options, aa_request, read_request
from convsweep.system.devices import find_device
from tests.support import synthetic_runs as made

ROOF = Roof(1e11, np.array([1e5, 1e6, 1e8]), np.array([4e10, 5e10, 1e10]))
HOT, COLD = np.array([False]), np.array([True])
amounts = st.floats(1, 1e12)


def limit(flops: float, moved_bytes: float, cold: bool = False) -> tuple[float, str]:
    least_s, bound = limits(ROOF, np.array([flops]), np.array([moved_bytes]), COLD if cold else HOT)
    return float(least_s[0]), str(bound[0])


@given(amounts, amounts, st.booleans())
def test_no_work_is_allowed_more_than_the_product_or_the_copy(
    flops: float, moved_bytes: float, cold: bool
) -> None:
    least_s, _ = limit(flops, moved_bytes, cold)
    assert least_s >= flops / ROOF.flops_per_s
    assert least_s >= moved_bytes / ROOF.bytes_per_s.max()


@given(amounts, amounts, amounts)
def test_more_work_never_takes_less(flops: float, moved_bytes: float, more: float) -> None:
    assert limit(flops + more, moved_bytes)[0] >= limit(flops, moved_bytes)[0]
    assert limit(flops, moved_bytes + more)[0] >= limit(flops, moved_bytes)[0]
    assert limit(flops, moved_bytes, cold=True)[0] >= limit(flops, moved_bytes)[0]


@pytest.mark.parametrize(
    ("flops", "moved_bytes", "cold", "least_s", "bound"),
    [
        (1e9, 1e3, False, 1e9 / 1e11, COMPUTE),
        (1.0, 5e5, False, 5e5 / 5e10, CACHE),
        (1.0, 5e4, False, 5e4 / 5e10, CACHE),  # a larger copy was the faster one
        (1.0, 5e9, False, 5e9 / 1e10, MEMORY),
        (1.0, 5e5, True, 5e5 / 1e10, MEMORY),
        (1.0, 9e6, False, 9e6 / 2.32e10, CACHE),  # between two copies
        (1.0, 2e7, False, 2e7 / 1.76e10, MEMORY),  # nearer to the one in memory
    ],
)
def test_the_bound_is_what_takes_longest(
    flops: float, moved_bytes: float, cold: bool, least_s: float, bound: str
) -> None:
    assert limit(flops, moved_bytes, cold) == (pytest.approx(least_s, rel=0.01), bound)


def test_a_device_with_one_copy_has_no_caches_to_speak_of() -> None:
    roof = Roof(1e11, np.array([1e6]), np.array([1e9]))
    least_s, bound = limits(roof, np.array([1.0, 1.0]), np.array([1e3, 1e9]), np.zeros(2, bool))
    assert least_s == pytest.approx([1e-6, 1.0])
    assert list(bound) == [MEMORY, MEMORY]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_ceilings_pass_the_gate_as_every_case_does(dtype: str) -> None:
    layers = roofline_probes("vulkan", 4, 2**20)  # the small ones
    for layer, name in layers:
        [case] = cross([layer], [name], dtypes=[dtype])
        contest = setup_group([case], Settings(case_timeout_s=60, effort=None))
        assert validate(contest, 0).outcome.status == "ok"


@given(st.sampled_from(["cpu", "cuda", "vulkan"]), st.sampled_from([2, 4, 8]), st.integers(20, 27))
def test_copies_reach_from_the_caches_into_memory(device: str, itemsize: int, log: int) -> None:
    cache_bytes = 2**log
    found = roofline_probes(device, itemsize, cache_bytes)
    moved = [layer.problem.min_bytes(itemsize) for layer, name in found if name == "copy"]
    assert {name for _, name in found} == set(PROBE_BACKENDS)
    assert moved == sorted(moved)
    assert moved[0] < cache_bytes
    assert device == "vulkan" or moved[-1] >= 2 * cache_bytes


def test_every_device_dtype_and_thread_count_has_its_ceilings_once() -> None:
    layers = GRIDS["smoke"].layers()
    cases = cross(layers, ["torch_conv", "im2col"], dtypes=["float32", "float64"], threads=[1, 2])
    found = ceiling_cases(cases, {"cpu": find_device("cpu")})
    assert len(set(found)) == len(found)
    assert {case.layer.role for case in found} == {ROOFLINE}
    settings = {(case.device, case.dtype, case.threads) for case in cases}
    assert {(case.device, case.dtype, case.threads) for case in found} == settings
    assert read_request(Options(grid="smoke", ceilings=False)).ceilings == ()


def test_ceilings_are_visited_in_some_passes_and_forecast_so() -> None:
    request = read_request(Options(grid="smoke"))
    assert {pass_count(case, 100) for case in request.ceilings} == {PROBE_PASSES}
    assert {pass_count(case, 2) for case in request.ceilings} == {2}
    assert {pass_count(case, 100) for case in request.cases} == {100}
    settings = Settings()
    few, many = (
        forecast_s(request.ceilings, request.every_backend, settings, passes)
        for passes in (PROBE_PASSES, 2 * PROBE_PASSES)
    )
    start = forecast_s([], {}, settings, 1)
    assert many - few < few - start


def test_noise_is_of_backends_alone() -> None:
    request = aa_request(read_request(Options(grid="mobilenet")))
    assert request.every_case == request.cases


def test_both_halves_of_every_layer_that_is_timed_both_ways() -> None:
    request = read_request(Options(grid="mobilenet"))
    layers = GRIDS["mobilenet"].layers()
    halves = {half(layer.problem) for layer in layers for half in (depthwise_part, pointwise_part)}
    assert {case.problem for case in request.separable_parts} == halves
    assert {(case.layer.role, case.backend) for case in request.separable_parts} == {
        (SEPARABLE_PART, "torch_conv")
    }
    assert separable_part_cases(cross(layers, ["separable"])) == []
    assert separable_part_cases(cross(layers, ["torch_conv", "im2col"])) == []
    assert read_request(Options(grid="quick")).separable_parts == ()


def test_a_case_is_held_to_the_work_that_its_own_strategy_does(tmp_path: Path) -> None:
    rows = made.with_ceilings(made.rows(made.grid(channels=[16, 256], kernels=[3])))
    summary = summarize(load(made.write(tmp_path / "run", rows)))
    requested = split(summary).requested
    timed = requested[requested["status"] == "ok"]
    assert timed["attainable_flops_per_s"].gt(0).all()
    assert timed["bound"].isin([COMPUTE, CACHE, MEMORY]).all()
    own_work = 2 * timed["backend_macs"] / timed["time_s"]
    reached = own_work / timed["attainable_flops_per_s"]
    assert reached.to_numpy(dtype=float) == pytest.approx(timed["roofline_fraction"].to_numpy())
    assert requested.loc[requested["status"] != "ok", "roofline_fraction"].isna().all()


def test_without_probes_there_are_no_rooflines(tmp_path: Path) -> None:
    summary = summarize(load(made.write(tmp_path / "run", made.rows(made.grid((8,), (14,), (3,))))))
    found = summary[["roofline_fraction", "attainable_flops_per_s", "bound"]]
    assert found.isna().all(axis=None)
