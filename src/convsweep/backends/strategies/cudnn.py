"""cuDNN with autotuning, and cuDNN on tensor cores in TF32."""

from functools import partial

import torch

from convsweep.backends.base import Backend, library_bound
from convsweep.backends.engines import cudnn
from convsweep.problems.problem import ConvProblem

_TF32_ROUNDING = 2.0**13  # TF32 keeps 10 of the 23 bits of float32's mantissa


def tf32_bound(problem: ConvProblem) -> float:
    """Return the bound of a library, plus the rounding of inputs and weights to TF32."""
    return 2 * _TF32_ROUNDING + library_bound(problem)


_cudnn_backend = partial(
    Backend,
    version=f"torch {torch.__version__}",
    direct=False,
    device_types=("cuda",),
    family="engines",
)

BACKENDS = (
    _cudnn_backend(
        name="cudnn_benchmark",
        prepare=partial(cudnn.convolution, benchmark=True),
        error_bound=library_bound,
        source="cuDNN under torch.backends.cudnn.benchmark",
    ),
    _cudnn_backend(
        name="torch_conv_tf32",
        prepare=partial(cudnn.convolution, tf32=True),
        error_bound=tf32_bound,
        source="cuDNN under torch.backends.cudnn.allow_tf32",
        dtypes=("float32",),
    ),
)
