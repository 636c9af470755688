"""PyTorch's compiler, TorchInductor, with the weights frozen into the graph."""

from convsweep.backends.base import TORCH, Backend, imported_late, library_bound

BACKEND = Backend(
    name="torch_compile",
    prepare=imported_late("engines.inductor"),
    prepare_block=imported_late("engines.inductor", "block"),
    unsupported=imported_late("engines.inductor", "unsupported"),
    error_bound=library_bound,
    source="Ansel et al. 2024, PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode "
    "Transformation and Graph Compilation",
    version=TORCH,
    direct=False,
    transposed=True,
    device_types=("cpu",),
    dtypes=("float32", "bfloat16", "float16"),
    float32_sums=True,
    family="engines",
    compile_s=120.0,
    compiles_per_problem=True,
)
