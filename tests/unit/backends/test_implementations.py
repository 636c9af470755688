"""What own kernels and engines tell about their calls: names without addresses, and conversions."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from convsweep import Backend, ConvProblem
from convsweep.backends.base import Conv, Implementation, tells
from convsweep.backends.engines import jax, openvino
from convsweep.backends.engines.adapters import for_contiguous, for_each_layout
from convsweep.backends.registry import list_backends, missing_package
from convsweep.measure.inputs import make_inputs

NARROW = ConvProblem(16, 16, (5, 5), 3, padding=1, groups=16)
PROBLEMS = (
    NARROW,
    ConvProblem(16, 16, (20, 20), 3, padding=1, groups=16),
    ConvProblem(16, 24, (9, 9), 3, padding=1, bias=True),
    ConvProblem(16, 24, (9, 9), 1),
)
KERNELS = [
    backend
    for backend in list_backends().values()
    if backend.family == "kernels" and "cpu" in (backend.device_types or ())
]
PROGRAM = """
%fused (p: f32[1,4]) -> f32[1,4] {
  ROOT %inner.1 = f32[1,4]{1,0} multiply(%p, %p)
}

ENTRY %main.1 (x.1: f32[1,4]) -> f32[1,4] {
  %x.1 = f32[1,4]{1,0} parameter(0), metadata={op_name="x"}
  %constant = f32[3]{0} constant({1, 2, 3})
  %transpose_copy_fusion.1 = f32[1,4]{1,0} fusion(%x.1), kind=kLoop, calls=%fused
  %pair.2 = (f32[1,4]{1,0}, s8[16]{0}) custom-call(%transpose_copy_fusion.1, %constant)
  %first = f32[1,4]{1,0} get-tuple-element(%pair.2), index=0
  ROOT %ynn_fusion.7 = f32[1,4]{1,0} fusion(%first), kind=kCustom, calls=%fused
}
"""


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_own_kernels_convert_contiguous_tensors_only(kernel: Backend) -> None:
    if reason := missing_package(kernel):
        pytest.skip(reason)
    for problem in (p for p in PROBLEMS if kernel.unsupported(p) is None):
        inputs = make_inputs(problem, weight_kind="separable" if kernel.needs_factors else "dense")
        planes, rows = inputs.x, inputs.x.contiguous(memory_format=torch.channels_last)
        found = {threads: told(kernel, problem, inputs, threads) for threads in (1, 2)}
        assert found[1](planes) == found[2](planes) == found[1](planes)
        assert found[1](rows).name
        assert found[1](rows).reorders == 0
        is_narrow = kernel.name != "depthwise_numba" or problem is NARROW
        assert found[1](planes).reorders == (2 if is_narrow else 0)
        assert found[1](planes.transpose(2, 3).contiguous().transpose(2, 3)).reorders


def told(kernel: Backend, problem: ConvProblem, inputs: Any, threads: int) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return kernel.prepare(problem, inputs.weights).implementation
    finally:
        torch.set_num_threads(before)


def test_conversions_outside_an_engine_count() -> None:
    planes = torch.ones(1, 4, 3, 3)
    rows = planes.contiguous(memory_format=torch.channels_last)
    engine = tells(lambda x: x, lambda x: Implementation("Conv", 2, 1e-5, 1e-6))
    asked = for_contiguous(engine, planes.shape).implementation
    assert asked(planes) == Implementation("Conv", 2, 1e-5, 1e-6)
    assert asked(rows) == Implementation("Conv", 4, 1e-5)  # their time is unknown
    mute = tells(lambda x: x, lambda x: Implementation("Conv"))
    assert for_contiguous(mute, planes.shape).implementation(rows).reorders is None


def test_each_layout_has_its_own_function_to_ask() -> None:
    def make(channels_last: bool) -> Conv:
        name = "rows" if channels_last else "planes"
        return tells(
            lambda x: x, lambda x: Implementation(name), lambda x: Implementation(f"timed {name}")
        )

    planes = torch.ones(1, 4, 3, 3)
    rows = planes.contiguous(memory_format=torch.channels_last)
    conv: Any = for_each_layout(make, False, planes.shape)
    assert [conv.implementation(x).name for x in (planes, rows)] == ["planes", "rows"]
    assert [conv.measured(x).name for x in (planes, rows)] == ["timed planes", "timed rows"]
    untold = for_each_layout(lambda channels_last: lambda x: x, False, planes.shape)
    assert not hasattr(untold, "implementation")


def test_a_program_of_xla_is_read_without_what_it_fused_and_its_numbers() -> None:
    assert jax._executed(PROGRAM) == Implementation("pair + ynn_fusion", 1)
    assert jax._executed("").reason


def node(layer: str, time: str = "not_executed", name: str = "n", channels: int = 4) -> Any:
    texts = {"layerType": layer, "primitiveType": "jit_f32", "execTimeMcs": time}
    info = {
        key: SimpleNamespace(astype=lambda kind, text=text: text) for key, text in texts.items()
    }
    return SimpleNamespace(
        get_rt_info=lambda: info,
        get_output_shape=lambda port: [1, channels, 3, 3],
        get_friendly_name=lambda: name,
    )


def read(*nodes: Any) -> Implementation:
    graph = SimpleNamespace(get_ordered_ops=lambda: nodes)
    return openvino._executed(SimpleNamespace(get_runtime_model=lambda: graph))


def test_layers_of_openvino_compute_or_convert_or_do_nothing() -> None:
    plain = [node("Input"), node("Reorder"), node("Convolution"), node("Transpose")]
    assert read(*plain) == Implementation("Convolution:jit", 2)
    assert read(node("Reorder", name="n_fake"), node("Convolution")).reorders == 0
    assert read(node("Reorder", channels=1), node("Convolution")).reorders == 0
    timed = read(node("Reorder", "3"), node("Convolution", "12"), node("Convolution", "8"))
    assert timed.name == "Convolution:jit + Convolution:jit"
    assert timed.kernel_s is not None
    assert timed.reorder_s is not None
    assert math.isclose(timed.kernel_s, 20e-6)
    assert math.isclose(timed.reorder_s, 3e-6)
