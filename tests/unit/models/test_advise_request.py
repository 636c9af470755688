"""What is measured of a model: its distinct layers, the backends, and the metadata."""

import pytest
import torch
from torch import nn

from convsweep.models.advise.request import (
    distinct_layers,
    kernels_note,
    model_metadata,
    request_for,
    usual_dtype,
)
from convsweep.models.advise.trace import record
from convsweep.problems.workloads import Layer
from convsweep.sweep.request import Options
from convsweep.units import read_shape
from tests.support import hand_written_model


def test_a_shape_is_read() -> None:
    assert read_shape("1,3,224, 224") == read_shape("1x3x224x224") == (1, 3, 224, 224)


@pytest.mark.parametrize("text", ["", "a", "1,3,", "1,,3", "0,3", "-1,3", "1.5,3", "1e9", "٣,3"])
def test_an_input_that_is_not_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1,3,224,224") as refused:
        read_shape(text)
    assert repr(text) in str(refused.value)


def layers_of(model: nn.Module, *shape: int) -> list[Layer]:
    return distinct_layers(record(model, [shape]), "mine")


def test_each_distinct_layer_is_there_once_with_its_count() -> None:
    layers = layers_of(hand_written_model.EveryKind(), 1, 3, 16, 16)
    assert [(layer.name, layer.count) for layer in layers] == [
        ("stem", 1),
        ("shared", 2),
        ("branch.0", 1),
        ("branch.2", 1),
        ("EveryKind", 1),
        ("EveryKind", 1),
        ("volume", 1),
        ("up", 1),
    ]
    assert {layer.workload for layer in layers} == {"mine"}
    assert len({layer.problem for layer in layers}) == len(layers)


def test_a_layer_of_several_modules_says_how_many() -> None:
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    assert [(x.name, x.count) for x in layers_of(model, 1, 4, 9, 9)] == [("0 and 2 more", 3)]


@pytest.mark.parametrize(
    ("factory", "reason"), [("without", "no convolution"), ("cropped", "span of its kernel")]
)
def test_a_model_without_a_convolution_is_refused(factory: str, reason: str) -> None:
    shape = (1, 4) if factory == "without" else (1, 4, 5, 5)
    with pytest.raises(ValueError, match=reason):
        layers_of(getattr(hand_written_model, factory)(), *shape)


def test_what_is_asked_is_the_baseline_every_hopeful_strategy_and_the_replacement() -> None:
    layers = layers_of(nn.Conv2d(16, 16, 3), 1, 16, 28, 28)
    request = request_for("mine", layers, Options())
    assert {"torch_conv", "im2col", "separable"} <= set(request.backends)
    assert "loop" not in request.backends  # thousands of times slower
    assert (request.baseline, request.budget_s) == ("torch_conv", 60)
    assert set(request_for("mine", layers, Options(backends=("loop",))).backends) == {
        "torch_conv", "separable", "loop",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("installed", "options", "noted"),
    [
        (True, Options(), True),
        (True, Options(directions=("training",)), False),
        (True, Options(dtypes=("float64",)), False),
        (False, Options(), False),
    ],
)
def test_own_kernels_that_could_run_are_named(
    installed: bool, options: Options, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.backends.registry._is_installed", lambda module: installed)
    request = request_for("mine", layers_of(nn.Conv2d(16, 16, 3), 1, 16, 28, 28), options)
    assert bool(kernels_note(request)) == noted


def test_a_model_that_no_backend_supports_is_refused() -> None:
    layers = layers_of(nn.Conv2d(4, 4, 3), 1, 4, 9, 9)
    with pytest.raises(ValueError, match=r"no named backend supports .* mine: pointwise needs"):
        request_for("mine", layers, Options(backends=("pointwise",)))
    with pytest.raises(ValueError, match="onnxruntime_int8: int8 is another function"):
        request_for("mine", layers, Options(backends=("onnxruntime_int8",)))
    signal = layers_of(hand_written_model.signal(), 1, 4, 9)
    with pytest.raises(ValueError, match=r"no backend supports .*channels_last"):
        request_for("mine", signal, Options(memory_formats=("channels_last",)))


def test_the_dtype_is_the_models_own() -> None:
    half = record(nn.Conv2d(4, 4, 3).to(torch.float16), [(1, 4, 9, 9)])
    assert usual_dtype(half) == "float16"


def test_what_is_told_of_the_model_is_all_of_it() -> None:
    model = nn.Sequential(hand_written_model.EveryKind(), nn.ConvTranspose2d(6, 6, 1, padding=1))
    trace = record(model, [(1, 3, 16, 16)])
    metadata = model_metadata(
        "a:b", [(1, 3, 16, 16)], trace, distinct_layers(trace, "mine"), "float32"
    )
    [unmeasured] = metadata["unmeasured"]  # type: ignore[misc]
    assert (metadata["convolutions"], unmeasured["count"]) == (9, 1)
    measured = sum(one.macs for one in trace.convolutions)
    assert measured + unmeasured["macs"] <= trace.macs
