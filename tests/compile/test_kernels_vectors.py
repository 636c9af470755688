import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsweep.backends.kernels import buffers
from convsweep.backends.kernels import vectors as v
from convsweep.backends.kernels.compiling import kernel
from convsweep.backends.kernels.small_matrices import times, times_plus
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from tests.support import red_zones

MATRIX = (
    (4.0, 0.0, -5.0, 0.0),
    (0.0, -4.0, -2.5, 1.0),
    (0.0, 4.0, -2.5, -1.0),
    (1.0, 1.0, 1.0, 1.0),
)
PAIRED_COLUMNS = ((1.0, 1.0, 1.0), (0.0, 2.0, -2.0), (0.0, 4.0, 4.0), (0.5, 0.0, 0.0))
floats = st.lists(st.floats(-1e3, 1e3, width=32), min_size=LANES, max_size=LANES)
FEW = settings(max_examples=25)

_times, _times_columns, _times_plus = times(MATRIX), times(PAIRED_COLUMNS), times_plus(MATRIX)


@kernel
def _move(source: int, step: int, target: int, target_step: int) -> None:
    v.transpose(source, step, target, target_step)


@kernel
def _part(source: int, even: int, odd: int) -> None:
    v.deinterleave(source, even, odd)


@kernel
def _copy_float(source: int, target: int) -> None:
    v.store_float(target, v.load_float(source))


@kernel
def _multiply(which: int, source: int, source_step: int, target: int, target_step: int) -> None:
    if which == 0:
        _times(source, source_step, target, target_step)
    elif which == 1:
        _times_columns(source, source_step, target, target_step)
    else:
        _times_plus(source, source_step, target, target_step, source)


def guarded(values: object) -> Tensor:
    return red_zones.guarded(torch.tensor(values, dtype=torch.float32))


@given(step=st.integers(LANES, LANES + 3), target_step=st.integers(LANES, LANES + 3))
@FEW
def test_transposing_moves_every_lane_and_touches_nothing_between(
    step: int, target_step: int
) -> None:
    with red_zones.red_zones():
        source = guarded(np.arange(LANES * step, dtype=np.float32).reshape(LANES, step))
        target = buffers.empty((LANES, target_step)).fill_(-1)
        steps = step * FLOAT_BYTES, target_step * FLOAT_BYTES
        _move(source.data_ptr(), steps[0], target.data_ptr(), steps[1])
        assert torch.equal(target[:, :LANES], source[:, :LANES].T)
        assert bool((target[:, LANES:] == -1).all())


def test_even_and_odd_floats_are_parted() -> None:
    with red_zones.red_zones():
        source = guarded(np.arange(2 * LANES, dtype=np.float32))
        even, odd = buffers.empty((LANES,)), buffers.empty((LANES,))
        _part(source.data_ptr(), even.data_ptr(), odd.data_ptr())
        assert torch.equal(torch.stack((even, odd)), source.view(LANES, 2).T)


def test_a_single_float_is_copied() -> None:
    with red_zones.red_zones():
        source, target = guarded([1.5]), buffers.empty((1,))
        _copy_float(source.data_ptr(), target.data_ptr())
        assert torch.equal(source, target)


@given(rows=st.lists(floats, min_size=4, max_size=4))
@FEW
def test_small_matrices_multiply_vectors(rows: list[list[float]]) -> None:
    with red_zones.red_zones():
        source = guarded(rows)
        for which, matrix in enumerate((MATRIX, PAIRED_COLUMNS, MATRIX)):
            right = torch.tensor(matrix, dtype=torch.float64)
            out = buffers.empty((len(matrix), LANES))
            steps = VECTOR_BYTES, VECTOR_BYTES
            _multiply(which, source.data_ptr(), steps[0], out.data_ptr(), steps[1])
            expected = right @ source[: right.shape[1]].double()
            if which == 2:
                expected += source[0]
            scale = right.abs() @ source[: right.shape[1]].double().abs() + source[0].abs()
            assert bool(((out - expected).abs() <= 1e-6 * scale + 1e-30).all())


def spoil_a_zone() -> None:
    with red_zones.red_zones():
        source, target = guarded([0.0]), buffers.empty((LANES,))
        _copy_float(source.data_ptr(), target.data_ptr() + LANES * FLOAT_BYTES)


def test_what_is_written_beside_a_buffer_is_found() -> None:
    with pytest.raises(AssertionError, match="1 of 4 red zones"):
        spoil_a_zone()
