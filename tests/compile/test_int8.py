"""int8 engines: how they quantise, that they really do, and how the gate judges them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights
from convsweep.analysis.quantized import INT8_SUFFIX
from convsweep.backends.base import Conv, GraphLayer, Implementation, Unsupported
from convsweep.backends.engines import int8, openvino
from convsweep.backends.registry import list_backends, missing_package, skip_reason
from convsweep.backends.strategies.torch_conv import prepare as exact
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs
from convsweep.measure.outcome import failure
from convsweep.measure.projection import project
from convsweep.measure.reference import compute_reference
from convsweep.measure.signal_to_noise import MIN_SQNR_DB
from convsweep.models.optimize.selection import unusable_reason
from tests.support.strategies import conv_problems

INT8 = [backend for backend in list_backends().values() if backend.quantized]
PROBLEM = ConvProblem(8, 8, (9, 9), 3, padding=1, bias=True)
LAYERS = (
    PROBLEM,
    replace(PROBLEM, groups=8, bias=False),
    ConvProblem(12, 24, (7, 6), 1, stride=(2, 1), batch_size=2),
    ConvProblem(3, 5, (6, 6, 6), 3, padding=1),
    ConvProblem(6, 12, (30,), 3, groups=3),
)
Prepare = Callable[[ConvProblem, Weights], Conv]


@given(problem=conv_problems())
@settings(max_examples=60)
def test_each_weight_is_within_half_a_step_of_its_channel(problem: ConvProblem) -> None:
    weight = make_inputs(problem).weights.dense
    weight[0] = 0
    values, scale = int8.quantize(weight)
    off = (values * scale.view(-1, *[1] * (weight.dim() - 1)) - weight).abs().flatten(1).amax(1)
    assert values.dtype is torch.int8
    assert bool((off <= 0.501 * scale).all())
    assert values.flatten(1).abs().amax(1).tolist() == [0, *[127] * (problem.out_channels - 1)]


def test_outputs_of_normal_inputs_are_within_the_range() -> None:
    inputs = make_inputs(PROBLEM)
    weights = inputs.weights
    scale = int8.output_scale(GraphLayer(PROBLEM, weights.dense, weights.bias))
    largest = float(exact(PROBLEM, weights)(inputs.x).abs().max())
    assert largest / 4 < int8.LEVELS * scale
    assert largest < int8.LEVELS * scale


@pytest.mark.parametrize("problem", LAYERS, ids=lambda problem: problem.label)
@pytest.mark.parametrize("backend", INT8, ids=lambda backend: backend.name)
def test_runs_in_int8_and_tells_so(backend: Backend, problem: ConvProblem) -> None:
    if reason := missing_package(backend):
        pytest.skip(reason)
    inputs = make_inputs(problem)
    try:
        conv: Any = backend.prepare(problem, inputs.weights)
    except Unsupported as reason:
        pytest.skip(str(reason))
    expected = compute_reference(problem, inputs)
    found = check(conv, inputs, output(expected, float("inf")))
    assert found.reason is None
    assert found.sqnr_db is not None
    assert found.sqnr_db < 60  # float32 has more than 120
    name = conv.implementation(inputs.x).name
    assert "QLinearConv" in name or name.lower().endswith(("i8", "u8"))


def test_each_has_the_name_and_the_needs_of_an_engine_in_float32() -> None:
    assert len(INT8) == 2
    for backend in INT8:
        twin = list_backends()[backend.name.removesuffix(INT8_SUFFIX)]
        assert not twin.quantized
        kept = ("modules", "extra", "version", "family", "own_threads", "device_types")
        assert all(getattr(backend, name) == getattr(twin, name) for name in kept)
        assert unusable_reason(backend, [backend.name]) == "computes another function, in int8"
        few = ConvProblem(1, 1, (3, 3), 3)
        transposed = replace(PROBLEM, transposed=True)
        refused: list[tuple[ConvProblem, dict[str, str]]] = [
            (PROBLEM, {"dtype": "float64"}),
            (PROBLEM, {"direction": "training"}),
            (PROBLEM, {"block": "conv_bn_act"}),
            *((problem, {}) for problem in (few, transposed)),
        ]
        for problem, more in refused:
            setting = {"weight_kind": "dense", "device": "cpu", "dtype": "float32"} | more
            assert skip_reason(backend, problem, **setting)


def test_a_model_that_openvino_runs_in_float_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = list_backends()["openvino_int8"]
    if reason := missing_package(backend):
        pytest.skip(reason)
    monkeypatch.setattr(openvino, "_executed", lambda model: Implementation("Convolution:jit"))
    with pytest.raises(Unsupported) as raised:
        backend.prepare(PROBLEM, make_inputs(PROBLEM).weights)
    assert failure(raised.value).status == "skipped"
    assert "Convolution:jit" in str(failure(raised.value).reason)


def rounds(problem: ConvProblem, weights: Weights) -> Conv:
    inner = exact(problem, weights)
    return lambda x: (inner(x) * 10).round() / 10


def drops_the_bias(problem: ConvProblem, weights: Weights) -> Conv:
    return exact(problem, replace(weights, bias=None))


def returns_zeros(problem: ConvProblem, weights: Weights) -> Conv:
    return lambda x: torch.zeros(problem.output_shape)


def returns_nan(problem: ConvProblem, weights: Weights) -> Conv:
    inner = exact(problem, weights)
    return lambda x: inner(x).index_fill(3, torch.tensor([4]), torch.nan)


def remembers(problem: ConvProblem, weights: Weights) -> Conv:
    inner, answers = exact(problem, weights), {}
    return lambda x: answers.setdefault(x.data_ptr(), inner(x)).clone()


def swaps_channels(problem: ConvProblem, weights: Weights) -> Conv:
    inner = exact(problem, weights)
    return lambda x: inner(x).flip(1)


@pytest.mark.parametrize("expect", [compute_reference, project], ids=["full", "fast"])
@pytest.mark.parametrize(
    "lie", [drops_the_bias, returns_zeros, returns_nan, remembers, swaps_channels]
)
def test_noise_is_a_mismatch_and_a_rounded_output_is_not(lie: Prepare, expect: Any) -> None:
    inputs = make_inputs(PROBLEM)
    expected = expect(PROBLEM, make_inputs(PROBLEM))

    def judged(prepare: Prepare) -> Any:
        conv = prepare(PROBLEM, inputs.weights)
        return check(conv, inputs, output(expected, float("inf")))

    assert judged(lie).status == "mismatch"
    assert judged(rounds).status == "ok"
    assert judged(rounds).sqnr_db > MIN_SQNR_DB


@pytest.mark.parametrize("expect", [compute_reference, project], ids=["full", "fast"])
def test_the_ratio_is_that_of_the_squares(expect: Any) -> None:
    problem = ConvProblem(8, 70, (40, 40), 3, bias=True)
    inputs = make_inputs(problem)
    y = rounds(problem, inputs.weights)(inputs.x)
    right = compute_reference(problem, inputs).y
    ratio: Tensor = 10 * torch.log10(right.square().sum() / (y - right).square().sum())
    found = expect(problem, inputs).compare(y.flatten(), float("inf"), False)
    assert found.sqnr_db == pytest.approx(
        float(ratio), abs=1e-6 if found.sample_flags is None else 1
    )
