"""Kernels with the tiles and bands of other machines: right, and within their memory."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.kernels.machines import AVX512
from convsweep.backends.base import Conv
from convsweep.backends.kernels import direct, pointwise, separable, winograd
from convsweep.backends.registry import list_backends
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine
from tests.support.kernel_checks import DRAWN, check_kernel

pytest.importorskip("numba")

SMALL = Machine(2**10, 2**10, 2**10, macs_per_s=1.0)
MACHINES = {
    "AVX-512": AVX512,
    "small": SMALL,
    "uneven": Machine(3000, 7001, 2**14, macs_per_s=1.0),
    "huge": Machine(2**20, 2**28, 2**32, macs_per_s=1e15),
}
KERNELS: dict[str, Callable[..., Conv]] = {
    "direct_numba": direct.prepare,
    "pointwise_numba": pointwise.prepare,
    "separable_numba": separable.prepare,
    "winograd_numba": winograd.prepare,
}


@st.composite
def problems(draw: st.DrawFn, name: str) -> ConvProblem:
    """Problems of some bands that all these kernels take, but for the size of their kernel."""
    channels, kernel = st.integers(1, 70), 1 if name == "pointwise_numba" else 3
    return ConvProblem(
        draw(channels),
        draw(channels),
        draw(st.tuples(*[st.integers(3, 40)] * 2)),
        kernel,
        batch_size=draw(st.integers(1, 3)),
        stride=1 if name == "winograd_numba" else draw(st.integers(1, 2)),
        padding=kernel // 2,
        bias=draw(st.booleans()),
    )


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", KERNELS)
@given(data=st.data(), threads=st.integers(1, 2))
@DRAWN
def test_sizes_of_another_machine_are_right(
    name: str, machine: str, data: st.DataObject, threads: int
) -> None:
    backend = list_backends()[name]
    problem = data.draw(problems(name))
    finding = check_kernel(
        partial(KERNELS[name], machine=MACHINES[machine]),
        problem,
        100.0 if name == "winograd_numba" else backend.error_bound(problem),
        memory_format=data.draw(st.sampled_from(("contiguous", "channels_last"))),
        weight_kind="separable" if backend.needs_factors else "dense",
        threads=threads,
    )
    assert finding.reason is None
