"""ONNX Runtime: a session of convolutions, with weights packed in `prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv
from convsweep.backends.engines.adapters import PerThread, for_contiguous
from convsweep.backends.engines.graph import GraphLayer

_OPSET, _IR_VERSION = 17, 10
_ERRORS_ONLY = 3


def convolution(layers: Sequence[GraphLayer]) -> Conv:
    """Make one session of the layers, with PyTorch's current thread count."""
    import numpy as np
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # it sends them on Windows only
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(
        _model(layers).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    bindings, shape = PerThread(session.io_binding), layers[-1].problem.output_shape

    def conv(x: Tensor) -> Tensor:
        binding = bindings.own
        y = torch.empty(shape)  # the session reads and writes torch's memory
        binding.bind_input("x0", "cpu", 0, np.float32, x.shape, x.data_ptr())
        binding.bind_output("y", "cpu", 0, np.float32, shape, y.data_ptr())
        session.run_with_iobinding(binding)
        return y

    return for_contiguous(conv, layers[0].problem.input_shape)


def _model(layers: Sequence[GraphLayer]) -> Any:  # onnx is only partly typed
    from onnx import TensorProto, helper, numpy_helper

    names = [*(f"x{index}" for index in range(len(layers))), "y"]
    nodes, constants = [], []
    for index, (problem, weight, bias) in enumerate(layers):
        parts = {f"w{index}": weight} | ({} if bias is None else {f"b{index}": bias})
        constants += [numpy_helper.from_array(t.contiguous().numpy(), n) for n, t in parts.items()]
        nodes.append(
            helper.make_node(
                "Conv",
                [names[index], *parts],
                [names[index + 1]],
                kernel_shape=problem.kernel_size,
                strides=problem.stride,
                pads=problem.padding * 2,  # before and after
                dilations=problem.dilation,
                group=problem.groups,
            )
        )
    ends = {"x0": layers[0].problem.input_shape, "y": layers[-1].problem.output_shape}
    inputs, outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ends.items()
    )
    graph = helper.make_graph(nodes, "convolution", [inputs], [outputs], constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
