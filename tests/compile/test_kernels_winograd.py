from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import convsweep
from convsweep import ConvProblem
from convsweep.backends.kernels import winograd, winograd_tiles
from convsweep.measure.inputs import make_inputs
from convsweep.system.calibration import Machine
from tests.support.kernel_checks import DRAWN, check_kernel, relu_is_fused
from tests.support.strategies import conv_problems

BACKEND = convsweep.list_backends()["winograd_numba"]
SMALL = Machine(2**10, 2**10, 2**10, macs_per_s=1.0)  # one band per block
formats = st.sampled_from(["contiguous", "channels_last"])
threads = st.sampled_from([1, 2])


@st.composite
def problems(draw: st.DrawFn) -> ConvProblem:
    """3x3 problems from less than a tile up to some blocks, of many pixels or of many channels."""
    most, longest = draw(st.sampled_from([(3, 30), (9, 20), (20, 12), (40, 8)]))
    sizes = st.integers(3, longest)
    return ConvProblem(
        in_channels=draw(st.integers(1, most)),
        out_channels=draw(st.integers(1, most)),
        input_size=(draw(sizes), draw(sizes)),
        kernel_size=3,
        batch_size=draw(st.integers(1, 3)),
        padding=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        bias=draw(st.booleans()),
    )


@pytest.mark.parametrize("tile", winograd_tiles.TILES)
@given(problem=problems(), memory_format=formats, threads=threads)
@DRAWN
def test_every_tile_is_right_and_stays_within_its_memory(
    tile: int, problem: ConvProblem, memory_format: str, threads: int
) -> None:
    prepare = partial(winograd.prepare, tile=tile)
    bound = winograd_tiles.error_bound(problem, tile)
    finding = check_kernel(prepare, problem, bound, memory_format=memory_format, threads=threads)
    assert finding.reason is None


@given(problem=problems(), memory_format=formats, threads=threads)
@DRAWN
def test_blocks_of_a_single_band_are_right(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "MAX_IMBALANCE", 3)
        bound = winograd_tiles.error_bound(problem, winograd_tiles.best_tile(problem, SMALL))
        prepare = partial(winograd.prepare, machine=SMALL)
        finding = check_kernel(
            prepare, problem, bound, memory_format=memory_format, threads=threads
        )
    assert finding.reason is None


@given(problem=problems(), memory_format=formats, threads=threads)
@DRAWN
def test_relu_is_computed_with_it_between_red_zones(
    problem: ConvProblem, memory_format: str, threads: int
) -> None:
    assert relu_is_fused(BACKEND, problem, memory_format, threads)


@given(problem=conv_problems(ranks=(2,), max_stride=1, max_dilation=1, grouped=False))
@DRAWN
def test_small_problems_are_right_or_refused_with_a_reason(problem: ConvProblem) -> None:
    if reason := BACKEND.unsupported(problem):
        assert reason.startswith("needs ")
        return
    finding = check_kernel(BACKEND.prepare, problem, BACKEND.error_bound(problem))
    assert finding.reason is None


def test_an_input_of_another_layout_is_taken_and_left_as_it_was() -> None:
    problem = ConvProblem(5, 6, (7, 8), 3, padding=1)
    inputs = make_inputs(problem)
    x = inputs.x.transpose(2, 3).contiguous().transpose(2, 3)
    conv = winograd.prepare(problem, inputs.weights)
    assert torch.equal(conv(x), conv(inputs.x))
    assert torch.equal(x, inputs.x)


@given(problem=problems())
@DRAWN
def test_the_tile_chosen_multiplies_no_more_than_the_smallest_tile(problem: ConvProblem) -> None:
    pairs = problem.in_channels * problem.out_channels
    smallest = winograd_tiles.tiles_of(problem, 2) * winograd_tiles.frequencies(2) * pairs
    assert 0 < winograd_tiles.macs(problem) <= smallest


@pytest.mark.parametrize("tile", winograd_tiles.TILES)
def test_half_precision_would_be_found_out(tile: int) -> None:
    problem = ConvProblem(64, 64, (28, 28), 3, padding=1)
    half = torch.finfo(torch.float16).eps / torch.finfo(torch.float32).eps
    assert winograd_tiles.error_bound(problem, tile) < half / 8
