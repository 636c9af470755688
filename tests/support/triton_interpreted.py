"""Triton's kernels without a GPU: run by its interpreter, on tensors of the CPU.

Not collected: `tests/compile/test_triton.py` runs it with the interpreter switched on.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from tests.support.strategies import conv_problems

DEPTHWISE = convsweep.list_backends()["triton_depthwise"]
GEMM = convsweep.list_backends()["triton_implicit_gemm"]
FEW = settings(max_examples=8, derandomize=True)
FORMATS = st.sampled_from(["contiguous", "channels_last"])
IMAGES = conv_problems(ranks=(2,), max_stride=2, max_extra=3)


@st.composite
def depthwise_problems(draw: st.DrawFn) -> ConvProblem:
    channels, multiplier = draw(st.integers(2, 3)), draw(st.integers(1, 2))
    return replace(
        draw(IMAGES), in_channels=channels, out_channels=channels * multiplier, groups=channels
    )


def error_over_bound(backend: Backend, problem: ConvProblem, memory_format: str) -> float:
    inputs = make_inputs(problem, weight_kind="dense", memory_format=memory_format)
    y = backend.prepare(problem, inputs.weights)(inputs.x)
    expected = compute_reference(problem, inputs)
    bound = backend.error_bound(problem) * torch.finfo(y.dtype).eps * expected.scale
    return float((y.double() - expected.y).abs().max() / bound)


@given(problem=depthwise_problems(), memory_format=FORMATS)
@FEW
def test_depthwise_equals_the_reference(problem: ConvProblem, memory_format: str) -> None:
    assert DEPTHWISE.unsupported(problem) is None
    assert error_over_bound(DEPTHWISE, problem, memory_format) <= 1


@given(problem=IMAGES.filter(lambda problem: not problem.is_depthwise), memory_format=FORMATS)
@FEW
def test_the_implicit_product_equals_the_reference(
    problem: ConvProblem, memory_format: str
) -> None:
    assert GEMM.unsupported(problem) is None
    assert error_over_bound(GEMM, problem, memory_format) <= 1


# More than one block: of channels, of pixels, of rows and columns and what is summed over.
WIDE = ConvProblem(70, 70, (2, 3), 3, padding=1, groups=70, bias=True)
LONG = ConvProblem(2, 2, (20, 14), 2, groups=2, bias=True)
TALL = ConvProblem(9, 66, (9, 8), 3, padding=1, bias=True, batch_size=2)
SEVERAL_BLOCKS = [
    (DEPTHWISE, WIDE, "channels_last"),
    (DEPTHWISE, LONG, "contiguous"),
    (GEMM, TALL, "channels_last"),
    (GEMM, TALL, "contiguous"),
]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("backend", "problem", "memory_format"), SEVERAL_BLOCKS)
def test_several_blocks_pass_the_gate_in_every_dtype(
    backend: Backend, problem: ConvProblem, memory_format: str, dtype: str
) -> None:
    if (backend, dtype) == (GEMM, "bfloat16"):
        pytest.skip("the interpreter takes the bits of bfloat16 for whole numbers in a product")
    inputs = make_inputs(problem, weight_kind="dense", dtype=dtype, memory_format=memory_format)
    conv = backend.prepare(problem, inputs.weights)
    bound = backend.error_bound(problem)
    expected = compute_reference(problem, inputs)
    assert check(conv, inputs, output(expected, bound)).reason is None


@pytest.mark.parametrize(("backend", "problem", "memory_format"), SEVERAL_BLOCKS)
def test_whole_numbers_are_exact_and_the_answer_lies_as_the_input_does(
    backend: Backend, problem: ConvProblem, memory_format: str
) -> None:
    inputs = make_inputs(problem, weight_kind="dense", memory_format=memory_format, integers=True)
    y = backend.prepare(problem, inputs.weights)(inputs.x)
    assert torch.equal(y.double(), compute_reference(problem, inputs).y)
    assert y.is_contiguous() == inputs.x.is_contiguous()
    assert y.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")
