"""Peak memory of a call, in a fresh process: earlier allocations of this one would change it."""

import sys
from multiprocessing import get_context

import pytest

from convsweep.system.peak_memory import peak_of


def peaks(taken: int) -> list[int | None]:
    """The peaks of three calls that take `taken` bytes, free them and take half as many."""
    kept = bytearray(taken)  # does not count: it is there before
    sizes: list[int] = []

    def work() -> None:
        sizes.append(len(b"x" * taken))
        sizes.append(len(b"x" * (taken // 2)))

    found = [peak_of(work) for _ in range(3)]
    assert len(kept) == taken
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak of a process")
@pytest.mark.parametrize("taken", [2**24, 2**26])
def test_the_memory_of_a_call_is_that_of_its_peak_in_every_call(taken: int) -> None:
    with get_context("spawn").Pool(1) as pool:
        found = pool.apply(peaks, (taken,))
    assert found == [None] * 3 or found == pytest.approx([taken] * 3, rel=0.1)
