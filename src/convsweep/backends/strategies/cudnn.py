"""cuDNN with autotuning, and cuDNN on tensor cores in TF32."""

from functools import partial

from convsweep.backends.base import TORCH, Backend, imported_late, library_bound

_TF32_ROUNDING = 2.0**13  # TF32 keeps 10 of the 23 bits of float32's mantissa

_convolution = imported_late("engines.cudnn")
_cudnn_backend = partial(
    Backend, version=TORCH, direct=False, transposed=True, device_types=("cuda",), family="engines"
)

BACKENDS = (
    _cudnn_backend(
        name="cudnn_benchmark",
        prepare=partial(_convolution, benchmark=True),
        error_bound=library_bound,
        source="cuDNN under torch.backends.cudnn.benchmark",
    ),
    _cudnn_backend(
        name="torch_conv_tf32",
        prepare=partial(_convolution, tf32=True),
        error_bound=lambda problem: 2 * _TF32_ROUNDING + library_bound(problem),
        source="cuDNN under torch.backends.cudnn.allow_tf32",
        dtypes=("float32",),
    ),
)
