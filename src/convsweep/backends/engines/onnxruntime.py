"""ONNX Runtime: a session of convolutions, with weights packed in `prepare`."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.util import get_temp_dir
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv, GraphLayer, Implementation, tells
from convsweep.backends.blocks import EPS
from convsweep.backends.engines.adapters import PerThread, for_contiguous
from convsweep.backends.engines.int8 import INPUT_SCALE, output_scale, quantize

_OPSET, _IR_VERSION = 17, 10
_ERRORS_ONLY = 3
_NO_OVERFLOW = "session.x64quantprecision"  # without VNNI, sums of two products may exceed 16 bits
_ZERO = 128  # of unsigned activations
_CONVERSIONS = ("Reorder", "Transpose")
_FEWEST_CALLS, _MOST_CALLS, _PROFILED_S = 3, 30, 0.003


def convolution(layers: Sequence[GraphLayer], int8: bool = False) -> Conv:
    """Make one session of the layers, with PyTorch's current thread count."""
    import numpy as np

    make = partial(_session, layers, int8, torch.get_num_threads())
    session = make()
    bindings, shape = PerThread(session.io_binding), layers[-1].problem.output_shape

    def conv(x: Tensor) -> Tensor:
        binding = bindings.own
        y = torch.empty(shape)  # the session reads and writes torch's memory
        binding.bind_input("x0", "cpu", 0, np.float32, x.shape, x.data_ptr())
        binding.bind_output("y", "cpu", 0, np.float32, shape, y.data_ptr())
        session.run_with_iobinding(binding)
        return y

    tells(conv, partial(_profiled, make))
    return for_contiguous(conv, layers[0].problem.input_shape)


def _session(layers: Sequence[GraphLayer], int8: bool, threads: int, profile: str = "") -> Any:
    return session_of(_model(layers, int8).SerializeToString(), threads, profile)


def session_of(model: bytes, threads: int, profile: str = "", *, spinning: bool = True) -> Any:
    """Return a session, which writes a profile at its end if that has a prefix."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # it sends them on Windows only
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(_NO_OVERFLOW, "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.enable_profiling, options.profile_file_prefix = bool(profile), profile
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _profiled(make: Callable[[str], Any], x: Tensor) -> Implementation:
    """Profile calls in a session of their own; the first one, which allocates, does not count."""
    with TemporaryDirectory(dir=get_temp_dir()) as folder:
        session = make(f"{folder}/profile")
        end = perf_counter() + _PROFILED_S
        for done in range(_MOST_CALLS):
            if done < _FEWEST_CALLS or perf_counter() < end:
                session.run(None, {"x0": x.detach().numpy()})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    seconds: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event["cat"] == "Node":
            name = event["args"]["op_name"] + ":nchwc" * ("_nchwc" in event["name"])
            seconds.setdefault((name, event["name"]), []).append(event["dur"] / 1e6)
    kernels = {node: own for node, own in seconds.items() if not node[0].startswith(_CONVERSIONS)}
    reorder_s = [median(own[1:]) for node, own in seconds.items() if node not in kernels]
    kernel_s = [median(own[1:]) for own in kernels.values()]
    names = " + ".join(name for name, _ in kernels)
    return Implementation(names, len(reorder_s), sum(kernel_s), sum(reorder_s))


def _model(layers: Sequence[GraphLayer], int8: bool) -> Any:  # onnx is only partly typed
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(operator: str, *tensors: Tensor | None, **attributes: Any) -> None:
        parts = {f"{operator}{len(nodes)}_{n}": t for n, t in enumerate(tensors) if t is not None}
        constants.extend(
            numpy_helper.from_array(t.contiguous().numpy(), n) for n, t in parts.items()
        )
        ends = [f"x{len(nodes)}", *parts], [f"x{len(nodes) + 1}"]
        nodes.append(helper.make_node(operator, *ends, **attributes))

    for layer in layers:
        problem, weight, bias, norm, relu, _ = layer
        geometry: dict[str, Any] = {
            "kernel_shape": problem.kernel_size,
            "strides": problem.stride,
            "pads": problem.padding + problem.padding_end,
            "dilations": problem.dilation,
            "group": problem.groups,
        }
        if int8:
            operands = _int8_operands(layer)
            add("QuantizeLinear", *operands[:2])
            add("QLinearConv", *operands, **geometry)
            add("DequantizeLinear", *operands[5:7])
        elif problem.transposed:
            add("ConvTranspose", weight, bias, output_padding=problem.output_padding, **geometry)
        else:
            add("Conv", weight, bias, **geometry)
        if norm:
            add("BatchNormalization", *norm, epsilon=EPS)
        if relu == math.inf:
            add("Relu")
        elif relu:
            add("Clip", torch.tensor(0.0), torch.tensor(relu))
    nodes[-1].output[0] = "y"
    ends = {"x0": layers[0].problem.input_shape, "y": layers[-1].problem.output_shape}
    inputs, outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ends.items()
    )
    graph = helper.make_graph(nodes, "convolution", [inputs], [outputs], constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _int8_operands(layer: GraphLayer) -> list[Tensor | None]:
    """Return the operands of `QLinearConv`: scale, zero, weight, 2 of it, 2 of the output, bias."""
    weight, scale = quantize(layer.weight)
    zero, zeros = torch.tensor(_ZERO, dtype=torch.uint8), torch.zeros(len(weight)).char()
    bias = None if layer.bias is None else (layer.bias / (INPUT_SCALE * scale)).round().int()
    of_output = torch.tensor(output_scale(layer))
    return [torch.tensor(INPUT_SCALE), zero, weight, scale, zeros, of_output, zero, bias]
