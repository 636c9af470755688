"""Backends that fuse a block: each passes the gate in both layouts, folded and not."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch

from convsweep.backends.base import Backend
from convsweep.backends.blocks import dense_graph, layer_by_layer, separable_graph
from convsweep.backends.registry import list_backends, skip_reason
from convsweep.backends.tensor_layout import bind_weights
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.inputs import make_inputs
from convsweep.measure.outcome import skipped_outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import BLOCKS, MEMORY_FORMATS, cross
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer

PROBLEM = ConvProblem(24, 20, (9, 11), 3, padding=1, padding_end=0, batch_size=2, bias=True)
PARTS = [
    replace(PROBLEM, padding_end=1),
    ConvProblem(24, 24, (9, 11), 3, padding=1, groups=24),
    ConvProblem(24, 20, (9, 11), 1),
]
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


@pytest.mark.parametrize("backend", FUSING, ids=lambda backend: backend.name)
def test_each_convolution_has_its_own_bounded_relu(backend: Backend) -> None:
    assert backend.prepare_block is not None
    kind = "separable" if backend.needs_factors else "dense"
    how = {"weight_kind": kind, "device": "cpu", "dtype": "float32"}
    problem = next((one for one in PARTS if not skip_reason(backend, one, **how)), None)
    if problem is None or backend.quantized:
        pytest.skip("cannot run here")
    inputs = make_inputs(problem, weight_kind=kind)
    layers = (separable_graph if backend.needs_factors else dense_graph)(problem, inputs.weights)
    for relus in product((0.0, 0.5, math.inf), repeat=len(layers)):
        own = [layer._replace(relu=relu) for layer, relu in zip(layers, relus, strict=True)]
        expected = layer_by_layer(bind_weights, own)(inputs.x)
        y = backend.prepare_block(own)(inputs.x)
        assert torch.allclose(y, expected, rtol=1e-4, atol=1e-5)
