"""Backends that fuse a block: each passes the gate in both layouts, folded and not."""

from collections.abc import Iterator

import pytest
import torch

from convsweep.backends.base import Backend
from convsweep.backends.registry import list_backends
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.outcome import skipped_outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import BLOCKS, MEMORY_FORMATS, cross
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer

PROBLEM = ConvProblem(24, 20, (9, 11), 3, padding=1, padding_end=0, batch_size=2, bias=True)
FUSING = [
    backend
    for backend in list_backends().values()
    if backend.prepare_block and not backend.compiles_per_problem  # 10 s for each
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("backend", FUSING, ids=lambda backend: backend.name)
def test_a_fused_block_passes_the_gate(backend: Backend) -> None:
    cases = cross(
        [Layer(PROBLEM)], [backend.name], blocks=BLOCKS[1:], memory_formats=MEMORY_FORMATS
    )
    runnable = [case for case in cases if not skipped_outcome(case, backend)]
    for case in runnable:
        found = validate(setup_group([case], Settings(case_timeout_s=300.0)), 0)
        assert isinstance(found, ValidatedCase), found
    if not runnable:
        pytest.skip("cannot run here")
