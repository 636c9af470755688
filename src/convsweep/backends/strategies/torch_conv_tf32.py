"""cuDNN on tensor cores in TF32: inputs rounded to 10 bits of mantissa, sums in float32."""

from functools import partial

import torch

from convsweep.backends.base import Backend, library_bound
from convsweep.backends.engines import cudnn
from convsweep.problems.problem import ConvProblem

_ROUNDED = 2.0**13  # TF32 keeps 10 bits of float32's 23


def error_bound(problem: ConvProblem) -> float:
    """Inputs and weights rounded so, on top of what a library may lose in float32."""
    return 2 * _ROUNDED + library_bound(problem)


BACKEND = Backend(
    name="torch_conv_tf32",
    prepare=partial(cudnn.convolution, tf32=True),
    error_bound=error_bound,
    source="cuDNN under torch.backends.cudnn.allow_tf32",
    version=f"torch {torch.__version__}",
    direct=False,
    device_types=("cuda",),
    dtypes=("float32",),
    family="engines",
)
