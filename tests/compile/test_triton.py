"""Triton's kernels: right under its interpreter, and compiled for GPUs that are not here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import convsweep
from convsweep import ConvProblem
from convsweep.backends.registry import skip_reason

pytest.importorskip("triton", reason="needs the extra triton")

ROOT = Path(__file__).parents[2]
NAMES = ("triton_depthwise", "triton_implicit_gemm")
DENSE, DEPTHWISE = ConvProblem(4, 4, (6, 6), 3), ConvProblem(4, 4, (6, 6), 3, groups=4)


def python(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **own, **variables}
    return subprocess.run(
        [sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True
    )


def test_the_kernels_are_right_under_the_interpreter(tmp_path: Path) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    found = python(tmp_path, *words, "tests/support/triton_interpreted.py", TRITON_INTERPRET="1")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("capability", ["80", "90"])
def test_the_kernels_compile_for_a_gpu_without_tf32(capability: str, tmp_path: Path) -> None:
    found = python(tmp_path, "tests/support/triton_compiled.py", capability)
    assert found.returncode == 0, found.stderr
    found_code = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(found_code) == len(NAMES) * 3
    assert not any(one["tf32"] for one in found_code)
    for one in found_code:
        product = one["kernel"] == "_triton_gemm" and one["dtype"] != "fp32"
        assert one["mma" if product else "fma.rn.f32"]


@pytest.mark.parametrize("name", NAMES)
def test_they_run_on_cuda_alone_and_only_what_they_suit(name: str) -> None:
    backend = convsweep.list_backends()[name]
    fits, other = (DEPTHWISE, DENSE) if name == "triton_depthwise" else (DENSE, DEPTHWISE)

    def reason(problem: ConvProblem, device: str, dtype: str = "float32") -> str | None:
        return skip_reason(backend, problem, weight_kind="dense", device=device, dtype=dtype)

    assert reason(fits, "cuda:0") is None
    assert reason(other, "cuda:0")
    assert "not on cpu" in str(reason(fits, "cpu"))
    assert "not in float64" in str(reason(fits, "cuda:0", "float64"))
    assert "needs 2 spatial dimensions" in str(reason(ConvProblem(4, 4, (6,), 3), "cuda:0"))
