"""Engines: other libraries on the CPU, cuDNN, and the compilers of PyTorch and JAX."""

import operator
from functools import partial

from convsweep.backends import base
from convsweep.backends.engines.graph import dense_and_separable
from convsweep.problems.problem import ConvProblem

_TF32_ROUNDING = 2.0**13  # TF32 keeps 10 of the 23 bits of float32's mantissa


def _onnxruntime_unsupported(problem: ConvProblem) -> str | None:
    """Return why ONNX Runtime refuses a transposed convolution, or None."""
    is_valid = all(map(operator.lt, problem.output_padding, problem.stride))
    return None if is_valid else "needs an output_padding below the stride"


def _cudnn(
    problem: ConvProblem, weights: base.Weights, *, benchmark: bool = False, tf32: bool = False
) -> base.Conv:
    """Return PyTorch's convolution with cuDNN's autotuning, or with TF32 (10 bits of mantissa).

    PyTorch has these settings once per process. Every call sets and restores them, which takes
    less than a microsecond, so that other backends are unaffected.
    """
    import torch

    from convsweep.backends.tensor_layout import bind_weights

    convolve, settings = bind_weights(problem, weights), torch.backends.cudnn

    def conv(x: base.Tensor) -> base.Tensor:
        before = settings.benchmark, settings.allow_tf32
        settings.benchmark, settings.allow_tf32 = benchmark, tf32
        try:
            return convolve(x)
        finally:
            settings.benchmark, settings.allow_tf32 = before

    return conv


_engine = partial(base.Backend, direct=False, error_bound=base.library_bound, family="engines")
_cudnn_backend = partial(_engine, version=base.TORCH, transposed=True, device_types=("cuda",))

BACKENDS = (
    # Its library MLAS computes in blocks of channels.
    *dense_and_separable(
        ("onnxruntime", "separable_onnxruntime"),
        base.imported_late("engines.onnxruntime"),
        sources=(
            "ONNX Runtime, operator Conv of its CPU execution provider",
            "ONNX Runtime, two operators Conv; Howard et al. 2017, MobileNets",
        ),
        unsupported=_onnxruntime_unsupported,
        modules=("onnxruntime", "onnx"),
        extra="onnxruntime",
        transposed=True,
        own_threads=True,
        int8_source="ONNX Runtime, operator QLinearConv of its CPU execution provider",
    ),
    # Its CPU plugin contains a oneDNN of its own.
    *dense_and_separable(
        ("openvino", "separable_openvino"),
        base.imported_late("engines.openvino"),
        sources=("OpenVINO, CPU plugin", "OpenVINO, CPU plugin; Howard et al. 2017, MobileNets"),
        dtypes=("float32", "bfloat16", "float16"),
        dtype_unsupported=base.imported_late("engines.openvino", "dtype_unsupported"),
        modules=("openvino",),
        extra="openvino",
        transposed=True,
        own_threads=True,
        int8_source="OpenVINO, CPU plugin, FakeQuantize and weights in int8",
    ),
    # It chooses Winograd or matrix products per layer.
    *dense_and_separable(
        ("ncnn", "separable_ncnn"),
        base.imported_late("engines.ncnn"),
        sources=(
            "ncnn, layers Convolution and ConvolutionDepthWise",
            "ncnn, two layers; Howard et al. 2017, MobileNets",
        ),
        unsupported=base.imported_late("engines.ncnn", "unsupported"),
        dtypes=("float32", "bfloat16"),
        dtype_unsupported=base.imported_late("engines.ncnn", "dtype_unsupported"),
        modules=("ncnn",),
        extra="ncnn",
        own_threads=True,
    ),
    # oneDNN with weights reordered once in `prepare`; torch_conv reorders them at every call.
    *dense_and_separable(
        ("torch_prepacked", "separable_prepacked"),
        base.imported_late("engines.onednn"),
        sources=(
            "oneDNN by torch.ops.mkldnn and torch.ops.mkldnn_prepacked",
            "oneDNN by torch.ops.mkldnn; Howard et al. 2017, MobileNets",
        ),
        unsupported=base.imported_late("engines.onednn", "unsupported"),
        own_padding_end=False,
        dtypes=("float32", "bfloat16", "float16"),
        dtype_unsupported=base.imported_late("engines.onednn", "dtype_unsupported"),
        version=base.TORCH,
    ),
    # TorchInductor, with the weights frozen into the graph.
    _engine(
        name="torch_compile",
        prepare=base.imported_late("engines.inductor"),
        prepare_block=base.imported_late("engines.inductor", "block"),
        unsupported=base.imported_late("engines.inductor", "unsupported"),
        source="Ansel et al. 2024, PyTorch 2: Faster Machine Learning Through Dynamic Python "
        "Bytecode Transformation and Graph Compilation",
        version=base.TORCH,
        transposed=True,
        device_types=("cpu",),
        dtypes=("float32", "bfloat16", "float16"),
        float32_sums=True,
        compile_s=120.0,
        compiles_per_problem=True,
    ),
    _engine(
        name="jax",
        prepare=base.imported_late("engines.jax"),
        source="jax.lax.conv_general_dilated, compiled by XLA",
        own_padding_end=True,
        device_types=("cpu",),
        dtypes=("float32", "float64"),
        modules=("jax",),
        extra="jax",
        compile_s=60.0,
        compiles_per_problem=True,
        own_threads=True,
    ),
    _cudnn_backend(
        name="cudnn_benchmark",
        prepare=partial(_cudnn, benchmark=True),
        source="cuDNN under torch.backends.cudnn.benchmark",
    ),
    _cudnn_backend(
        name="torch_conv_tf32",
        prepare=partial(_cudnn, tf32=True),
        error_bound=lambda problem: 2 * _TF32_ROUNDING + base.library_bound(problem),
        source="cuDNN under torch.backends.cudnn.allow_tf32",
        dtypes=("float32",),
    ),
)
