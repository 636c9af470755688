"""Compiles Triton's kernels for a GPU that need not be there; reports what the code contains.

A program for `tests/compile/test_triton.py`: a line of JSON a kernel and dtype.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from convsweep.backends.kernels.triton_convolutions import _triton_depthwise, _triton_gemm

CAPABILITY = int(sys.argv[1])
BLOCKS = {
    _triton_depthwise: {"PIXELS": 4, "CHANNELS": 32},
    _triton_gemm: {"ROWS": 16, "COLUMNS": 16, "DEPTH": 16},
}


def assembly(kernel, dtype: str) -> str:  # type: ignore[no-untyped-def]
    constants = {"KERNEL_H": 3, "KERNEL_W": 3, "BIAS": True, **BLOCKS[kernel]}
    kinds = {
        name: "constexpr" if name in constants else f"*{dtype}" if name.endswith("_ptr") else "i32"
        for name in kernel.arg_names
    }
    source = ASTSource(kernel, kinds, constexprs=constants)
    target = GPUTarget("cuda", CAPABILITY, 32)
    return triton.compile(source, target=target, options={"enable_fp_fusion": True}).asm["ptx"]


for kernel in BLOCKS:
    for dtype in ("fp32", "fp16", "bf16"):
        text = assembly(kernel, dtype)
        contains = {name: name in text for name in ("tf32", "mma", "fma.rn.f32")}
        line = json.dumps({"kernel": kernel.__name__, "dtype": dtype, **contains})
        sys.stdout.write(f"{line}\n")
