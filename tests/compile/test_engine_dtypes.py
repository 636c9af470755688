"""Engines in every dtype: within the bound, or skipped with a reason."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from convsweep import Backend, ConvProblem, list_backends
from convsweep.backends.registry import missing_package, skip_reason
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import allowed_error, compute_reference
from convsweep.problems.case import DTYPES

ENGINES = [
    *(
        backend
        for backend in list_backends().values()
        if backend.family == "engines"
        and "cpu" in (backend.device_types or ())
        and not backend.compiles_per_problem
    ),
    *(list_backends()[name] for name in ("jax", "torch_conv_autocast")),
]
LAYER = ConvProblem(6, 10, (9, 7), 3, batch_size=2, padding=1, bias=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # JAX's pool keeps the number of its first use
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_an_engine_computes_in_a_dtype_or_tells_why_not(engine: Backend, dtype: str) -> None:
    kind = "separable" if engine.needs_factors else "dense"
    reason = skip_reason(engine, LAYER, weight_kind=kind, device="cpu", dtype=dtype)
    if reason is None:
        for memory_format in ("contiguous", "channels_last")[: 1 if engine.name == "jax" else 2]:
            inputs = make_inputs(
                LAYER, weight_kind=kind, dtype=dtype, memory_format=memory_format
            )  # fmt: skip
            conv, expected = engine.prepare(LAYER, inputs.weights), compute_reference(LAYER, inputs)
            bound = engine.error_bound(LAYER)
            if engine.computes_in:
                eps = torch.finfo(getattr(torch, engine.computes_in)).eps
                expected = replace(expected, eps=eps)
            limit = allowed_error(engine, bound, inputs.x.dtype, expected, LAYER.taps)
            assert check(conv, inputs, output(expected, limit)).reason is None
    elif not missing_package(engine):
        assert "comput" in reason
        assert dtype != "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_inputs_of_another_dtype_are_refused(dtype: str) -> None:
    backend = list_backends()["openvino"]
    if missing_package(backend):
        pytest.skip("openvino is not installed")
    conv = backend.prepare(LAYER, make_inputs(LAYER).weights)
    with pytest.raises(ValueError, match=r"^x must be .* in torch.float32.*not .*$"):
        conv(make_inputs(LAYER, dtype=dtype).x)
