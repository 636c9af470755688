"""ncnn: a network of convolutions on one image, its weights packed when it is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv
from convsweep.backends.engines.adapters import contiguous_between
from convsweep.backends.engines.graph import Layer
from convsweep.problems.problem import ConvProblem

_MAGIC = 7767517
_FLOAT32_TAG = b"\0\0\0\0"  # before each weight; none before a bias
_ALIGNED = 4  # floats; some layers answer wrongly where a plane does not start at a multiple
_PARTS_OFF = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_storage",
    "use_int8_inference",
    "use_vulkan_compute",
)


def unsupported(problem: ConvProblem) -> str | None:
    """Its convolutions of other ranks are layers of their own."""
    return None if problem.rank == 2 else "needs 2 spatial dimensions"


def convolution(layers: Sequence[Layer]) -> Conv:
    """The layers as one network, with as many threads as PyTorch has now."""
    import ncnn

    network = _loaded(layers)
    problem = layers[0].problem
    aligned = math.prod(problem.input_size) % _ALIGNED == 0
    last = f"blob{len(layers)}"

    def image(x: Tensor) -> Tensor:
        extractor = network.create_extractor()
        extractor.set_blob_allocator(None)  # its answer may outlive the network's own memory
        given = ncnn.Mat(x.numpy())  # torch's own memory
        extractor.input("blob0", given if aligned else given.clone())
        _, y = extractor.extract(last)
        return torch.from_numpy(y.numpy())  # of aligned planes, which may lie apart

    def conv(x: Tensor) -> Tensor:
        x = x.detach()
        if problem.batch_size == 1:
            return image(x[0]).contiguous().unsqueeze(0)
        return torch.stack([image(one) for one in x])  # ncnn's networks know single images alone

    return contiguous_between(conv, problem.input_shape)


def _loaded(layers: Sequence[Layer]) -> Any:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    for part in _PARTS_OFF:
        setattr(network.opt, part, False)
    _, channels, height, width = layers[0].problem.input_shape
    lines = [f"Input in 0 1 blob0 0={width} 1={height} 2={channels}"]
    lines += [_line(layer, index) for index, layer in enumerate(layers)]
    text = "\n".join([str(_MAGIC), f"{len(lines)} {len(lines)}", *lines, ""])
    with TemporaryDirectory() as folder:  # from Python ncnn takes weights from a file alone
        weights = Path(folder) / "weights.bin"
        weights.write_bytes(b"".join(map(_packed, layers)))
        if network.load_param_mem(text) or network.load_model(str(weights)):
            raise RuntimeError(f"ncnn can't load {text!r}")
    return network


def _line(layer: Layer, index: int) -> str:
    problem = layer.problem
    kind = "Convolution" if problem.groups == 1 else "ConvolutionDepthWise"
    (height, width), (down, right) = problem.kernel_size, problem.stride
    (above, left), (apart, beside) = problem.padding, problem.dilation
    has_bias, weights = int(layer.bias is not None), layer.weight.numel()
    return (
        f"{kind} conv{index} 1 1 blob{index} blob{index + 1} 0={problem.out_channels}"
        f" 1={width} 11={height} 2={beside} 12={apart} 3={right} 13={down} 4={left} 14={above}"
        f" 5={has_bias} 6={weights} 7={problem.groups}"
    )


def _packed(layer: Layer) -> bytes:
    parts = [layer.weight.contiguous()] + ([] if layer.bias is None else [layer.bias])
    return _FLOAT32_TAG + b"".join(part.numpy().tobytes() for part in parts)
