"""cuDNN with autotuning: it times its algorithms at the first call and keeps the fastest."""

from functools import partial

import torch

from convsweep.backends.base import Backend, library_bound
from convsweep.backends.engines import cudnn

BACKEND = Backend(
    name="cudnn_benchmark",
    prepare=partial(cudnn.convolution, benchmark=True),
    error_bound=library_bound,
    source="cuDNN under torch.backends.cudnn.benchmark",
    version=f"torch {torch.__version__}",
    direct=False,
    device_types=("cuda",),
    family="engines",
)
