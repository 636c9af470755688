"""Width of vectors: kernels at the width that this machine does not have, registers of AVX-512."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convsweep.backends.kernels.vectors import LANES

OTHER = str(8 + 16 - LANES)
HERE = Path(__file__).parent
BETWEEN_RED_ZONES = (
    "depthwise.py::test_equals_the_reference_and_writes_nowhere_else",
    "pointwise.py::test_equals_the_reference_between_red_zones",
    "winograd.py::test_every_tile_is_right_and_stays_within_its_memory",
    "vectors.py",
)
# Made of the same products and tiles: only if the environment asks for more.
MADE_OF_THEM = (
    "direct.py::test_equals_the_reference_between_red_zones",
    "separable.py::test_equals_the_reference_between_red_zones",
)


def test_every_kernel_is_right_at_the_other_width() -> None:
    more = MADE_OF_THEM if "CONVSWEEP_EXAMPLES" in os.environ else ()
    tests = [f"{HERE}/test_kernels_{name}" for name in (*BETWEEN_RED_ZONES, *more)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env=os.environ | {"CONVSWEEP_LANES": OTHER},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


ASSEMBLY = """
from numba import njit
from convsweep.backends.kernels.products import PRODUCTS
from convsweep.backends.kernels.vectors import LANES

kernel = njit(PRODUCTS.signature, nogil=True, error_model="numpy")(PRODUCTS.function)
(assembly,) = kernel.inspect_asm().values()
print(LANES, assembly)
"""


def assembly_for(cpu: str) -> tuple[int, str]:
    """Floats per vector, and the machine code of products for a processor; it is not run."""
    variables = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "CONVSWEEP_LANES": ""}
    done = subprocess.run(
        [sys.executable, "-c", ASSEMBLY],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found, _, assembly = done.stdout.partition(" ")
    return int(found), assembly


def innermost_loops(assembly: str) -> list[list[str]]:
    """The lines of each loop without a loop in it, from a label to the jump back to it."""
    lines = assembly.splitlines()
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.?L\w+:", line)}
    ends = [(labels.get(line.split()[-1]), i) for i, line in enumerate(lines) if "\tj" in line]
    loops = [(start, end) for start, end in ends if start is not None and start < end]
    return [
        lines[start:end]
        for start, end in loops
        if not any(start <= a and b <= end for a, b in loops if (a, b) != (start, end))
    ]


def products_of(loop: list[str]) -> list[str]:
    return [line for line in loop if "vfmadd" in line]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="compiles for x86")
@pytest.mark.parametrize(
    ("cpu", "lanes", "register", "sums"),
    [("haswell", 8, "ymm", 12), ("znver4", 16, "zmm", 28)],
)
def test_sums_stay_in_the_registers_of_the_target(
    cpu: str, lanes: int, register: str, sums: int
) -> None:
    found, assembly = assembly_for(cpu)
    assert found == lanes
    loops = [[line for line in loop if "mm" in line] for loop in innermost_loops(assembly)]
    largest = [loop for loop in loops if len(products_of(loop)) in (sums, lanes * sums)]
    assert largest
    for loop in largest:
        assert all(register in line for line in products_of(loop))
        assert not any("(%rsp)" in line for line in loop)
