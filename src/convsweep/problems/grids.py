"""Named grids: sets of problems with the backends, passes and time limit that suit them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import FORWARD
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import is_replaceable
from convsweep.problems.workloads import MOBILENET, STANDARD_MOBILENET, Layer, workloads


@dataclass(frozen=True)
class Grid:
    """Problems spanned by axes, layers of networks, or both."""

    about: str
    axes: tuple[str, ...] = ()  # Each line spans one block of problems
    networks: tuple[str, ...] = ()  # Workloads whose layers are added
    keeps: Callable[[ConvProblem], bool] = lambda problem: True  # Filter of these layers
    passes: int = 10
    case_timeout_s: float = 10.0
    backends: tuple[str, ...] | None = None
    """Names of backends and families; None: those that run by default."""
    dtypes: tuple[str, ...] = ("float32",)
    directions: tuple[str, ...] = (FORWARD,)
    separable_parts: bool = False
    """Whether the depthwise and the pointwise part of separable layers are timed alone, too."""

    def layers(self) -> list[Layer]:
        """Return the problems of all axes and networks, without duplicates."""
        spans = (span(map(parse_axis, line.split())) for line in self.axes)
        layers = (layer.problem for name in self.networks for layer in workloads()[name])
        problems = itertools.chain(*spans, filter(self.keeps, layers))
        return [Layer(problem) for problem in dict.fromkeys(problems)]


_SMOKE = ("in_channels=4,8 size=6 kernel_size=1,3",)
_CHANNELS = ("in_channels=4:512:*2 size=28 kernel_size=1,3",)
_SIZES = ("in_channels=64 size=7:224:*2 kernel_size=1,3",)
_KERNELS = ("in_channels=32,128 size=28,56 kernel_size=1,3,5,7",)
_BATCH = ("batch_size=1:32:*2 in_channels=64 size=28 kernel_size=1,3",)
_MOBILENET = (
    "in_channels=32 size=112 out_channels=64",
    "in_channels=64,128 size=56 out_channels=128",
    "in_channels=128 size=28 out_channels=256 stride=2",
    "in_channels=256 size=28 out_channels=256",
    "in_channels=256,512 size=14 out_channels=512",
    "in_channels=512 size=7 out_channels=1024",
)
_DEPTHWISE = (*_MOBILENET, "in_channels=8:512:*4 size=7:56:*2 kernel_size=3,5")
_FURTHER = (
    "in_channels=32 size=28 stride=1,2 dilation=1,2 bias=0,1",
    "in_channels=64 size=28 groups=1,2,4,depthwise",
    "in_channels=32 size=28 padding=0,1,2",
    "in_channels=16,64 size=1024x kernel_size=9",
    "in_channels=8,32 size=14x14x14",
)
_KINDS = ("kernel_size=1,3", "groups=depthwise", "groups=4", "dilation=2")
_MAP = "in_channels=4,8,12,16,24,32,48,64,96,128 size=5,7,10,14,20,28,40,56,80"
_INT8 = (
    "in_channels=32 size=112 groups=depthwise", "in_channels=512 size=14 groups=depthwise",
    "in_channels=32 size=112 out_channels=64 kernel_size=1",
    "in_channels=512 size=14 kernel_size=1", "in_channels=64 size=56",
    "in_channels=3 size=224 out_channels=64 kernel_size=7 stride=2",
    "in_channels=256 size=14", "in_channels=512 size=7 out_channels=2048 kernel_size=1",
    "in_channels=128 size=112 bias=1", "in_channels=512 size=14 bias=1",
)  # fmt: skip
_ENGINES = ("torch_prepacked", "onnxruntime", "openvino", "ncnn")
_SEPARABLE_ENGINES = (
    "separable", "separable_numba", "separable_prepacked", "separable_onnxruntime",
    "separable_openvino", "separable_ncnn",
)  # fmt: skip
_LECTURE = (
    "in_channels=8,64 size=14 bias=0,1", "in_channels=64 size=28,56 bias=0,1",
    "in_channels=64 size=28 kernel_size=1 bias=0,1", "in_channels=64 size=14:56:*2 padding=0,1,2",
    "in_channels=16:256:*4 size=14,28 kernel_size=1", "in_channels=16 size=56",
    "in_channels=32 size=28", "in_channels=128 size=7", "in_channels=32 size=112",
    "in_channels=128 size=28", "in_channels=256 size=14", "in_channels=512 size=7",
    "in_channels=32 size=56 kernel_size=1,3,5,7", "in_channels=128 size=14 kernel_size=1,3,5,7",
    "in_channels=32,64 out_channels=32,64 size=28",
    "in_channels=128,256 out_channels=128,256 size=14", "in_channels=48 out_channels=32 size=28,56",
    "in_channels=16 out_channels=32 size=7x7x16,14x14x16",
    "in_channels=192 out_channels=64 size=28", "in_channels=64 out_channels=64 size=7x7x16",
)  # fmt: skip


GRIDS = {
    "smoke": Grid(
        "smallest problems, a few seconds",
        _SMOKE,
        passes=3,
        case_timeout_s=2.0,
        backends=("basic",),
    ),
    "quick": Grid(
        "channels by size by kernel, all five backends, in about a minute",
        ("in_channels=4:256:*4 size=7:56:*2 kernel_size=1,3",),
        passes=7,
        case_timeout_s=1.0,
        backends=("loop", "im2col", "pointwise", "torch_conv", "separable"),
    ),
    "channels": Grid("time against the number of channels", _CHANNELS),
    "sizes": Grid("time against the image's size", _SIZES),
    "kernels": Grid("time against the kernel's size", _KERNELS),
    "mobilenet": Grid(
        "eight of MobileNetV1's layers, standard against separable",
        _MOBILENET,
        backends=("torch_conv", "separable"),
        separable_parts=True,
    ),
    "depthwise": Grid(
        "standard against depthwise-separable layers",
        _DEPTHWISE,
        backends=("torch_conv", "im2col", "separable"),
        separable_parts=True,
    ),
    "batch": Grid("time against the batch's size", _BATCH),
    "lecture": Grid(
        "claims of a lecture on channels about cost: bias, padding, 1x1, ladders, kernels, volumes",
        _LECTURE,
        backends=("torch_conv", "pointwise", "linear", "separable"),
    ),
    "winograd": Grid(
        "3x3 layers of VGG-16 and ResNet-50: own Winograd against the engines that people use",
        networks=("vgg16", "resnet50"),
        keeps=lambda p: (p.kernel_size, p.stride, p.groups) == ((3, 3), (1, 1), 1),
        passes=5,
        backends=("torch_conv", "winograd", "winograd_numba", *_ENGINES),
    ),
    "depthwise_layers": Grid(
        "depthwise layers of MobileNetV1, EfficientNet-B0 and ConvNeXt: own kernel against engines",
        networks=(MOBILENET, "efficientnet_b0", "convnext_tiny"),
        keeps=lambda problem: problem.is_depthwise,
        passes=5,
        backends=("torch_conv", "depthwise_numba", *_ENGINES),
    ),
    "int8": Grid(
        "ten layers of MobileNetV1, ResNet-50 and VGG-16: engines in int8 beside float32",
        _INT8,
        backends=("torch_conv", "onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8"),
    ),
    "separable_blocks": Grid(
        "separable blocks of MobileNetV1: one fused kernel against two calls of the engines",
        networks=(STANDARD_MOBILENET,),
        keeps=lambda problem: is_replaceable(problem) and problem.in_channels > 3,
        passes=5,
        backends=_SEPARABLE_ENGINES,
    ),
    "implementations": Grid(
        "which implementation torch chooses: standard, 1x1, depthwise, grouped, dilated",
        tuple(f"{_MAP} {kind}" for kind in _KINDS),
        passes=3,
        backends=("torch_conv",),
    ),
    "noise": Grid(
        "from microseconds to milliseconds a call: what convsweep noise compares with itself",
        ("in_channels=4,8,16,32 size=7,14,28,56 kernel_size=1,3", "in_channels=64 size=7,14,28"),
        backends=("torch_conv",),
    ),
    "full": Grid(
        "all of the above, and strides, dilation, groups, bias, padding, 1-D and 3-D",
        (*_CHANNELS, *_SIZES, *_KERNELS, *_DEPTHWISE, *_BATCH, *_FURTHER),
    ),
}
