"""PyTorch's compiler, TorchInductor, with the weights frozen into the graph."""

import torch

from convsweep.backends.base import Backend, library_bound
from convsweep.backends.engines import inductor

BACKEND = Backend(
    name="torch_compile",
    prepare=inductor.convolution,
    unsupported=lambda problem: inductor.missing_compiler(),
    error_bound=library_bound,
    source="Ansel et al. 2024, PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode "
    "Transformation and Graph Compilation",
    version=f"torch {torch.__version__}",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
    compile_s=120.0,
    compiles_per_problem=True,
)
