"""OpenVINO: a model of convolutions, compiled for one problem and one input layout."""

import math
import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convsweep.backends.base import Conv, GraphLayer, Implementation, Unsupported, tells
from convsweep.backends.blocks import EPS
from convsweep.backends.engines.adapters import PerThread, for_each_layout
from convsweep.backends.engines.int8 import INPUT_SCALE, LEVELS, quantize
from convsweep.backends.tensor_layout import is_channels_last
from convsweep.problems.problem import ConvProblem

_NO_WORK = ("Input", "Const", "Output", "Reshape")  # layers that share memory
_CONVERSIONS = ("Reorder", "Transpose")
_MEASURED_CALLS = 20
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
_COPIED_BELOW = 2**16  # elements; copying a smaller output is faster than sharing memory


def convolution(layers: Sequence[GraphLayer], int8: bool = False) -> Conv:
    """Compile the layers as one model, with PyTorch's current thread count.

    Raises:
        Unsupported: the CPU plugin would not compute in `int8`.
    """
    make = partial(_compiled, layers, int8)
    first, weight = layers[0].problem, layers[0].weight
    return for_each_layout(make, is_channels_last(weight), first.input_shape, weight.dtype)


def dtype_unsupported(problem: ConvProblem, dtype: str) -> str | None:
    """Return the reason if the CPU plugin does not compute in this dtype on this CPU, or None."""
    capability = {"bfloat16": "BF16", "float16": "FP16"}.get(dtype, "FP32")
    able = imported_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return None if capability in able else f"OpenVINO does not compute in {dtype} on this CPU"


@cache
def imported_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report every import over the network."""
    telemetry = "openvino_telemetry"
    imported = telemetry in sys.modules
    if not imported:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # it then uses its own stub
    try:
        return import_module("openvino")
    finally:
        if not imported:
            del sys.modules[telemetry]


def _compiled(layers: Sequence[GraphLayer], int8: bool, channels_last: bool) -> Conv:
    """Compile for one input layout, which is part of the model: OpenVINO then converts nothing."""
    openvino, dtype = imported_openvino(), layers[0].weight.dtype
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
    }
    define = partial(_model, layers, int8, channels_last)
    model = openvino.compile_model(define(), "CPU", properties)
    if int8 and "_i8" not in (name := _executed(model).name).lower():
        raise Unsupported(f"OpenVINO runs {name} on this CPU, not in int8")
    shape = _shape_in(layers[-1].problem.output_shape, channels_last)
    copied = prod(shape) < _COPIED_BELOW and dtype is torch.float32
    requests = PerThread(model.create_infer_request)

    def set_input(request: Any, x: Tensor) -> None:
        request.set_input_tensor(_shared((x.movedim(1, -1) if channels_last else x).detach()))

    def conv(x: Tensor) -> Tensor:
        request = requests.own
        set_input(request, x)
        if copied:
            request.infer()
            y = torch.from_numpy(request.get_output_tensor().data).clone()
        else:
            y = torch.empty(shape, dtype=dtype)
            request.set_output_tensor(_shared(y))
            request.infer()
        return y.movedim(-1, 1) if channels_last else y

    def measured(x: Tensor) -> Implementation:
        counting = {**properties, "PERF_COUNT": True}
        model = openvino.compile_model(define(), "CPU", counting)
        request = model.create_infer_request()
        set_input(request, x)
        for _ in range(_MEASURED_CALLS):
            request.infer()
        return _executed(model)

    return tells(conv, lambda x: _executed(model), measured)


def _executed(model: Any) -> Implementation:
    """Return what the model's layers run; their seconds if it counts them, in microseconds."""
    names: list[str] = []
    reorders, seconds = 0, {True: 0.0, False: 0.0}
    for node in model.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        layer, primitive, mean_us = (
            info[key].astype(str) for key in ("layerType", "primitiveType", "execTimeMcs")
        )
        if layer in _NO_WORK:
            continue
        _, channels, *size = node.get_output_shape(0)
        is_conversion = layer in _CONVERSIONS
        if not is_conversion:
            names.append(f"{layer}:{primitive.removesuffix('_f32')}")
        elif min(channels, prod(size)) > 1 and not node.get_friendly_name().endswith("_fake"):
            reorders += 1
        if mean_us.isdecimal():
            seconds[is_conversion] += int(mean_us) / 1e6
    kernel_s, reorder_s = (seconds[key] if any(seconds.values()) else None for key in (False, True))
    return Implementation(" + ".join(names), reorders, kernel_s, reorder_s)


def _shared(tensor: Tensor) -> Any:
    """Return OpenVINO's tensor of the same memory; NumPy has no bfloat16."""
    openvino = imported_openvino()
    if tensor.dtype is not torch.bfloat16:
        return openvino.Tensor(tensor.numpy(), shared_memory=True)
    bits = tensor.view(torch.int16).numpy()
    return openvino.Tensor(bits, list(bits.shape), openvino.Type.bf16)


def _model(layers: Sequence[GraphLayer], int8: bool, channels_last: bool) -> Any:
    openvino, rank = imported_openvino(), layers[0].problem.rank
    opset13 = openvino.opset13
    first_shape = _shape_in(layers[0].problem.input_shape, channels_last)
    precision = _PRECISIONS[layers[0].weight.dtype]
    parameter = node = opset13.parameter(first_shape, getattr(openvino.Type, precision))
    if channels_last:
        node = opset13.transpose(node, [0, rank + 1, *range(1, rank + 1)])
    for layer in layers:
        node = _node(layer, int8, node)
    if channels_last:
        node = opset13.transpose(node, [0, *range(2, rank + 2), 1])
    return openvino.Model([node], [parameter])


def _node(layer: GraphLayer, int8: bool, node: Any) -> Any:
    opset13 = imported_openvino().opset13
    problem, weight, bias, norm, relu, _ = layer

    def constant(tensor: Tensor) -> Any:
        return opset13.convert(tensor.float().contiguous().numpy(), _PRECISIONS[weight.dtype])

    def grouped(values: Tensor) -> Tensor:
        groups = [] if problem.groups == 1 else [problem.groups]
        return values.contiguous().view(*groups, -1, *values.shape[1:])

    if int8:
        low, high = (np.float32(n * INPUT_SCALE) for n in (-LEVELS - 1, LEVELS))
        node = opset13.fake_quantize(node, low, high, low, high, 2 * LEVELS + 2)
        values, scale = quantize(weight)
        kernels = opset13.convert(opset13.constant(grouped(values).numpy()), "f32")
        scale = scale.view(-1, *[1] * (weight.dim() - 1))
        kernels = opset13.multiply(kernels, grouped(scale).numpy())
    else:
        kernels = constant(grouped(weight))
    geometry = {
        "strides": problem.stride,
        "pads_begin": problem.padding,
        "pads_end": problem.padding_end,
        "dilations": problem.dilation,
    }
    kind = "group_convolution" if problem.groups > 1 else "convolution"
    if problem.transposed:
        kind += "_backprop_data"
        geometry["output_padding"] = problem.output_padding
    lists = {name: list(values) for name, values in geometry.items()}
    node = getattr(opset13, kind)(node, kernels, **lists)
    if bias is not None:
        node = opset13.add(node, constant(bias.view(1, -1, *[1] * problem.rank)))
    if norm:
        node = opset13.batch_norm_inference(node, *map(constant, norm), EPS)
    if relu and relu < math.inf:
        return opset13.clamp(node, 0.0, relu)
    return opset13.relu(node) if relu else node


def _shape_in(shape: Sequence[int], channels_last: bool) -> list[int]:
    batch_size, channels, *size = shape
    return [batch_size, *size, channels] if channels_last else [batch_size, channels, *size]
