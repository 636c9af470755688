"""The gate in 16-bit dtypes: right results pass, and published wrong results are caught."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights, list_backends
from convsweep.backends.base import Conv, library_bound
from convsweep.backends.registry import skip_reason
from convsweep.backends.tensor_layout import bind_conv
from convsweep.measure.checks import check, output
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.outcome import Outcome
from convsweep.measure.reference import Reference, allowed_error, compute_reference
from convsweep.measure.settings import Settings
from convsweep.problems.case import FORWARD, TRAINING, Case
from convsweep.problems.workloads import Layer
from tests.support.strategies import conv_problems

TORCH = list_backends()["torch_conv"]
STRANGER = Backend("stranger", TORCH.prepare, error_bound=library_bound)
"""Backend of another package that tells nothing about its sums."""
TORCHS_OWN = [n for n, b in list_backends().items() if b.family in ("basic", "algorithms")]
HALVES = ("bfloat16", "float16")
in_halves = pytest.mark.parametrize("dtype", HALVES)

ONES = ConvProblem(1, 1, (2, 2), 2)  # pytorch#163347
STRIDE_3 = ConvProblem(313, 96, (12, 14, 4), 3, batch_size=19, stride=3)  # pytorch#169688
LAYER = ConvProblem(64, 32, (10, 9), 3, padding=1, bias=True)

Prepare = Callable[[ConvProblem, Weights], Conv]


def checked(
    backend: Backend, prepare: Prepare, problem: ConvProblem, inputs: Inputs
) -> tuple[Outcome, float]:
    expected, conv = compute_reference(problem, inputs), prepare(problem, inputs.weights)
    bound = backend.error_bound(problem)
    limit = allowed_error(backend, bound, inputs.x.dtype, expected, problem.taps)
    return check(conv, inputs, output(expected, limit)), limit


def in_float32(problem: ConvProblem, weights: Weights) -> Conv:
    """Right in every dtype: sums in float32, rounded once."""
    bias = None if weights.bias is None else weights.bias.float()
    conv = bind_conv(problem, weights.dense.float(), bias)
    return lambda x: conv(x.float()).to(x.dtype)


def reads_one_tap(problem: ConvProblem, weights: Weights) -> Conv:
    """1 instead of 4, as in pytorch#163347."""
    tap = weights.dense.clone()
    tap[:, :, 1:] = tap[..., 1:] = 0
    return in_float32(problem, replace(weights, dense=tap))


def mixes_columns(problem: ConvProblem, weights: Weights) -> Conv:
    """Wrong in the innermost dimension, as in pytorch#169688."""
    return in_float32(problem, replace(weights, dense=weights.dense.flip(-1)))


def leaves_a_tap_out(problem: ConvProblem, weights: Weights) -> Conv:
    dense = weights.dense.clone()
    dense[:, 0, 0, 0] = 0
    return in_float32(problem, replace(weights, dense=dense))


def sums_in_the_dtype(problem: ConvProblem, weights: Weights) -> Conv:
    """Add one input channel after the other, each sum rounded."""
    alone = problem_of_one(problem)

    def conv(x: Tensor) -> Tensor:
        y = x.new_zeros(problem.output_shape)
        for channel in range(problem.in_channels):
            w = weights.dense[:, channel : channel + 1]
            y += in_float32(alone, Weights(w))(x[:, channel : channel + 1])
        return y if weights.bias is None else y + weights.bias.view(-1, *[1] * problem.rank)

    return conv


def problem_of_one(problem: ConvProblem) -> ConvProblem:
    return ConvProblem(
        1, problem.out_channels, problem.input_size, problem.kernel_size,
        batch_size=problem.batch_size, stride=problem.stride, padding=problem.padding,
    )  # fmt: skip


@in_halves
@pytest.mark.parametrize("backend", [TORCH, STRANGER], ids=lambda backend: backend.name)
def test_one_instead_of_four_is_caught(backend: Backend, dtype: str) -> None:
    ones = torch.ones(1, 1, 2, 2, dtype=getattr(torch, dtype))
    inputs = Inputs(ones, Weights(ones.clone()))
    assert checked(backend, reads_one_tap, ONES, inputs)[0].status == "mismatch"
    assert checked(backend, in_float32, ONES, inputs)[0].status == "ok"


@in_halves
def test_wrong_columns_of_a_stride_are_caught(dtype: str) -> None:
    problem = STRIDE_3 if dtype == "bfloat16" else replace(STRIDE_3, batch_size=1)
    inputs = make_inputs(problem, dtype=dtype, memory_format="channels_last")
    found, limit = checked(TORCH, mixes_columns, problem, inputs)
    assert found.status == "mismatch"
    assert (found.error_ratio or 0) > 50 * limit


@in_halves
def test_an_error_of_one_tap_is_seen(dtype: str) -> None:
    inputs = make_inputs(LAYER, dtype=dtype)
    assert checked(TORCH, leaves_a_tap_out, LAYER, inputs)[0].status == "mismatch"
    assert checked(TORCH, in_float32, LAYER, inputs)[0].status == "ok"


@in_halves
def test_sums_in_the_dtype_need_a_backend_that_says_so(dtype: str) -> None:
    inputs = make_inputs(LAYER, dtype=dtype)
    assert checked(TORCH, sums_in_the_dtype, LAYER, inputs)[0].status == "mismatch"
    assert checked(STRANGER, sums_in_the_dtype, LAYER, inputs)[0].status == "ok"


@in_halves
def test_half_precision_within_float32_is_caught(dtype: str) -> None:
    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        halved = Weights(weights.dense.to(getattr(torch, dtype)))
        conv = in_float32(problem, halved)
        return lambda x: conv(x.to(halved.dense.dtype)).float()

    problem = problem_of_one(LAYER)
    assert checked(TORCH, prepare, problem, make_inputs(problem))[0].status == "mismatch"


@given(problem=conv_problems(max_stride=1), data=st.data())  # not as in pytorch#169688
@settings(max_examples=25)
def test_torchs_methods_are_within_their_bounds(problem: ConvProblem, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(HALVES))
    backend = list_backends()[data.draw(st.sampled_from(TORCHS_OWN))]
    kind = "separable" if backend.needs_factors else "dense"
    if skip_reason(backend, problem, weight_kind=kind, device="cpu", dtype=dtype):
        return
    inputs = make_inputs(problem, weight_kind=kind, dtype=dtype)
    assert checked(backend, backend.prepare, problem, inputs)[0].reason is None


@in_halves
@pytest.mark.parametrize("name", TORCHS_OWN)
def test_gradients_are_within_their_bounds(name: str, dtype: str) -> None:
    backend, problem = list_backends()[name], ConvProblem(4, 4, (5, 4), 3, padding=1, bias=True)
    kind = "separable" if backend.needs_factors else "dense"
    asked = {"device": "cpu", "dtype": dtype, "direction": TRAINING}
    if reason := skip_reason(backend, problem, weight_kind=kind, **asked):
        pytest.skip(reason)
    case = Case(Layer(problem), kind, "cpu", dtype, "contiguous", 1, "hot", name, TRAINING)
    assert isinstance(validate(setup_group([case], Settings(1)), 0), ValidatedCase)


@pytest.mark.parametrize("direction", [FORWARD, TRAINING])
def test_errors_of_autocast_are_in_units_of_what_it_computes_in(direction: str) -> None:
    case = Case(Layer(LAYER), "dense", "cpu", "float32", "contiguous", 1, "hot",
                "torch_conv_autocast", direction)  # fmt: skip
    found = validate(setup_group([case], Settings(1)), 0)
    assert isinstance(found, ValidatedCase)
    assert 0.01 < (found.outcome.error_ratio or 0) < 4


def test_a_sum_that_stops_at_256_is_caught() -> None:
    """The gradient of a bias, 256 instead of 1600, as in pytorch#68048."""
    right = Reference(torch.full((2,), 1600.0, dtype=torch.float64), None, 1600.0)
    limit = allowed_error(TORCH, library_bound(LAYER), torch.bfloat16, right, 1600, once=False)
    found = torch.full((2,), 256.0, dtype=torch.bfloat16)
    assert right.compare(found, limit, negated=False).status == "mismatch"
    assert right.compare(right.y.bfloat16(), limit, negated=False).status == "ok"
