"""The contract that every backend keeps; a new one is found here without an edit."""

import pytest
import torch
from hypothesis import given, settings
from problems import conv_problems

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.inputs import make_inputs
from convsweep.reference import gate, reference
from convsweep.registry import why_skipped

BACKENDS = list(convsweep.backends().values())
SMALL = settings(deadline=None, max_examples=40)

every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


def weight_kind(problem: ConvProblem) -> str:
    return "separable" if problem.groups == 1 and not problem.is_pointwise else "dense"


def skipped(backend: Backend, problem: ConvProblem) -> str | None:
    return why_skipped(
        backend, problem, weight_kind=weight_kind(problem), device="cpu", dtype="float32"
    )


@every_backend
@given(problem=conv_problems())
@SMALL
def test_equals_the_reference_or_says_why_not(backend: Backend, problem: ConvProblem) -> None:
    if reason := skipped(backend, problem):
        assert reason.strip()
        return
    inputs = make_inputs(problem, weight_kind=weight_kind(problem))
    conv = backend.prepare(problem, inputs.weights)
    truth = reference(problem, inputs)
    finding = gate(conv, problem, inputs, truth, backend.error_bound(problem))
    assert finding.reason is None


@every_backend
@given(problem=conv_problems())
@SMALL
def test_a_direct_method_is_exact_on_whole_numbers(backend: Backend, problem: ConvProblem) -> None:
    if skipped(backend, problem) or not backend.direct:
        return
    inputs = make_inputs(problem, weight_kind=weight_kind(problem), integers=True)
    y = backend.prepare(problem, inputs.weights)(inputs.x)
    assert torch.equal(y.double(), reference(problem, inputs).y)


@every_backend
@given(problem=conv_problems())
@SMALL
def test_is_linear_in_its_input(backend: Backend, problem: ConvProblem) -> None:
    if skipped(backend, problem) or problem.bias:
        return
    inputs = make_inputs(problem, weight_kind=weight_kind(problem), dtype="float64")
    other = make_inputs(problem, dtype="float64", seed=1).x
    conv = backend.prepare(problem, inputs.weights)
    together = conv(2 * inputs.x - 3 * other)
    assert torch.allclose(together, 2 * conv(inputs.x) - 3 * conv(other), rtol=1e-9, atol=1e-9)


@every_backend
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(6, 5), (4, 5, 3)], ids=["2d", "3d"])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_keeps_the_contract_in_every_dtype_and_format(
    backend: Backend, dtype: str, memory_format: str, size: tuple[int, ...], kernel_size: int
) -> None:
    problem = ConvProblem(
        in_channels=4,
        out_channels=6,
        input_size=size,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=True,
    )
    if reason := skipped(backend, problem):
        pytest.skip(reason)
    inputs = make_inputs(
        problem, weight_kind=weight_kind(problem), dtype=dtype, memory_format=memory_format
    )
    conv = backend.prepare(problem, inputs.weights)
    finding = gate(conv, problem, inputs, reference(problem, inputs), backend.error_bound(problem))
    assert finding.reason is None


@every_backend
@given(problem=conv_problems())
@SMALL
def test_tells_what_it_multiplies_and_how_far_it_may_err(
    backend: Backend, problem: ConvProblem
) -> None:
    if not skipped(backend, problem):
        assert backend.macs(problem) > 0
        assert backend.error_bound(problem) > 1


@every_backend
def test_names_its_source_and_version(backend: Backend) -> None:
    assert backend.source
    assert backend.version


def test_the_five_of_the_lecture_are_there() -> None:
    assert set(convsweep.backends()) >= {
        "loop",
        "im2col",
        "pointwise",
        "torch_conv",
        "separable",
    }


@given(problem=conv_problems(max_channels=3))
@settings(deadline=None, max_examples=60)
def test_the_reference_equals_the_naive_loop(problem: ConvProblem) -> None:
    inputs = make_inputs(problem, dtype="float64", integers=True)
    loop = convsweep.backends()["loop"].prepare(problem, inputs.weights)
    assert torch.equal(reference(problem, inputs).y, loop(inputs.x))
