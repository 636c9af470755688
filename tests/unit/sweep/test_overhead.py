"""Costs of a run beside the timing: page faults and messages of workers, memory per case."""

import mmap
import os
import sys
import tracemalloc

import pytest

from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import cross
from convsweep.problems.workloads import Layer
from convsweep.sweep.overhead import OverheadProfile, page_faults


@pytest.mark.skipif(sys.platform != "linux", reason="counts are in /proc")
def test_each_page_that_is_touched_first_is_a_fault() -> None:
    pages, before = 1_000, page_faults(os.getpid())
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1
        after = page_faults(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before >= pages


def test_the_faults_of_no_process_are_unknown() -> None:
    assert page_faults(2**30) is None


def test_unknown_faults_are_no_zero() -> None:
    profile = OverheadProfile()
    profile.add("gate_s", None)
    profile.add("timing_s", 0)
    found = profile.figures({"gate_s": 1.0, "wall_s": 4.0})
    assert found["gate"]["page_faults"] is None
    assert found["timing"]["page_faults"] == 0
    assert found["gate"]["messages"] == found["timing"]["messages"] == 1


def test_ten_thousand_cases_take_a_few_megabytes() -> None:
    axes = [parse_axis("in_channels=1:40:+1"), parse_axis("out_channels=1:25:+1")]
    tracemalloc.start()
    try:
        cases = cross([Layer(problem) for problem in span(axes)], ["torch_conv"])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 600 * len(cases)
