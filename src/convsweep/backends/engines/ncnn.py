"""ncnn: a network of convolutions on one image, with weights packed in `prepare`."""

import math
from collections.abc import Sequence
from multiprocessing.util import get_temp_dir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv, GraphLayer, Implementation, tells
from convsweep.backends.blocks import dense_graph, layer_by_layer
from convsweep.backends.engines.adapters import for_contiguous
from convsweep.problems.problem import ConvProblem

_MAGIC = 7767517
_FLOAT32_TAG = b"\0\0\0\0"  # before each weight; none before a bias
_PACKED = 1  # the type of an output that ncnn does not unpack
_ALIGNED = 4  # floats; some layers are wrong if a plane starts at no multiple of it
_DISABLED_OPTIONS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic",
                     "use_int8_inference", "use_vulkan_compute")  # fmt: skip


def unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not 2-D; ncnn has other layers for other ranks."""
    return None if problem.rank == 2 else "needs 2 spatial dimensions"


def dtype_unsupported(problem: ConvProblem, dtype: str) -> str | None:
    """Return the reason if ncnn stores bfloat16 but computes the layer in float32, or None."""
    grouped = dtype == "bfloat16" and problem.groups > 1
    return "ncnn computes grouped layers in float32" if grouped else None


def convolution(layers: Sequence[GraphLayer]) -> Conv:
    """Load the layers as one network, with PyTorch's current thread count."""
    import ncnn

    if any(layer.norm for layer in layers):
        return layer_by_layer(lambda *one: convolution(dense_graph(*one)), layers)
    network = _load(layers)
    problem = layers[0].problem
    aligned = math.prod(problem.input_size) % _ALIGNED == 0
    last = f"blob{len(layers)}"

    def one_image(x: Tensor) -> Tensor:
        extractor = network.create_extractor()
        extractor.set_blob_allocator(None)  # the output may outlive the network
        image = x.float()
        image_in = ncnn.Mat(image.numpy())  # shares torch's memory
        extractor.input("blob0", image_in if aligned else image_in.clone())
        _, y = extractor.extract(last)
        # Planes are aligned: there may be gaps between them.
        return torch.from_numpy(y.numpy()).to(x.dtype)

    def conv(x: Tensor) -> Tensor:
        x = x.detach()
        if problem.batch_size == 1:
            return one_image(x[0]).contiguous().unsqueeze(0)
        return torch.stack([one_image(image) for image in x])  # a network takes single images

    def implementation(x: Tensor) -> Implementation:
        """Return the types and packings of the layers; ncnn does not report its algorithms."""
        extractor, image = network.create_extractor(), x[0].detach().float()
        extractor.input("blob0", ncnn.Mat(image.numpy()).clone())
        outputs = (extractor.extract(f"blob{n + 1}", _PACKED)[1] for n in range(len(layers)))
        types = [layer.type for layer in network.layers()[1:]]
        names = [
            f"{t}:pack{y.elempack}" + ":bf16" * (y.elembits() == 16)
            for t, y in zip(types, outputs, strict=True)
        ]
        return Implementation(" + ".join(names))

    return for_contiguous(tells(conv, implementation), problem.input_shape, layers[0].weight.dtype)


def _load(layers: Sequence[GraphLayer]) -> Any:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    for option in _DISABLED_OPTIONS:
        setattr(network.opt, option, False)
    network.opt.use_bf16_storage = layers[0].weight.dtype is torch.bfloat16
    _, channels, height, width = layers[0].problem.input_shape
    lines = [f"Input in 0 1 blob0 0={width} 1={height} 2={channels}"]
    lines += [_param_line(layer, index) for index, layer in enumerate(layers)]
    text = "\n".join([str(_MAGIC), f"{len(lines)} {len(lines)}", *lines, ""])
    # In Python ncnn reads weights from files only. This folder goes even if the process is killed.
    with TemporaryDirectory(dir=get_temp_dir()) as folder:
        weights = Path(folder) / "weights.bin"
        weights.write_bytes(b"".join(map(_weight_bytes, layers)))
        if network.load_param_mem(text) or network.load_model(str(weights)):
            raise RuntimeError(f"ncnn cannot load {text!r}")
    return network


def _param_line(layer: GraphLayer, index: int) -> str:
    problem = layer.problem
    kind = "Convolution" if problem.groups == 1 else "ConvolutionDepthWise"
    (height, width), (stride_h, stride_w) = problem.kernel_size, problem.stride
    (top, left), (dilation_h, dilation_w) = problem.padding, problem.dilation
    bottom, right = problem.padding_end
    has_bias, weights = int(layer.bias is not None), layer.weight.numel()
    return (
        f"{kind} conv{index} 1 1 blob{index} blob{index + 1} 0={problem.out_channels}"
        f" 1={width} 11={height} 2={dilation_w} 12={dilation_h} 3={stride_w} 13={stride_h}"
        f" 4={left} 14={top} 15={right} 16={bottom}"
        f" 5={has_bias} 6={weights} 7={problem.groups} {_activation(layer.relu)}"
    )


def _activation(relu: float) -> str:
    """Return the parameters of no activation, ReLU, or a clip."""
    if relu in (0, math.inf):
        return f"9={int(relu > 0)}"
    return f"9=3 -23310=2,0.0,{relu}"


def _weight_bytes(layer: GraphLayer) -> bytes:
    parts = [layer.weight.contiguous()] + ([] if layer.bias is None else [layer.bias])
    return _FLOAT32_TAG + b"".join(part.float().numpy().tobytes() for part in parts)
