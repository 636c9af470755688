"""Roofline probes: the machine's best matrix product and copy, measured as cases.

They are the two limits of a roofline (Williams, Waterman & Patterson 2009). The matrix product is
a 1x1 convolution of a signal. The copy multiplies by one number, as Scale of STREAM does (McCalpin
1995): it is a 1x1 convolution of one channel, so both pass the same gate as other cases.
"""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results.schema import ROOFLINE

_MATRIX_SIDES = {"vulkan": (256,), "cpu": (384, 1024)}  # vulkan may run in software: a small one
_DEFAULT_SIDES = (1024, 4096)
_CACHE_SHARES = (1 / 64, 1 / 8, 1 / 2, 2)  # of the largest cache: bytes that a copy moves
_VULKAN_SHARES = (1 / 8,)  # in software its memory is the host's: one size is enough
PROBE_PASSES = 5  # Passes that measure the probes, which cost as much as many cases
_ROW = 1024  # elements per image row: a problem's sides are limited


def _prepare_matmul(problem: ConvProblem, weights: Weights) -> Conv:
    matrix = weights.dense.flatten(1)  # (C_out, C_in)
    return lambda x: matrix.mm(x[0])[None]


def _prepare_copy(problem: ConvProblem, weights: Weights) -> Conv:
    factor = weights.dense.flatten()[0]
    return lambda x: x * factor


MATMUL = Backend("matmul", _prepare_matmul, source="PyTorch")
COPY = Backend("copy", _prepare_copy, source="McCalpin 1995, STREAM", nominal_macs_per_s=2e9)
PROBE_BACKENDS = {backend.name: backend for backend in (MATMUL, COPY)}


def roofline_probes(device: str, itemsize: int, cache_bytes: int) -> list[tuple[Layer, str]]:
    """Return the layers that probe a device, each with its backend's name.

    Args:
        device: its name, such as cpu or cuda:1.
        itemsize: bytes per element.
        cache_bytes: size of the device's largest cache.
    """
    kind = device.partition(":")[0]
    products = [
        (_probe(ConvProblem(side, side, (side,), 1), f"matrix product {side}"), "matmul")
        for side in _MATRIX_SIDES.get(kind, _DEFAULT_SIDES)
    ]
    shares = _VULKAN_SHARES if kind == "vulkan" else _CACHE_SHARES
    sizes = [int(share * cache_bytes) for share in shares]
    return products + [(_copy(size, itemsize), "copy") for size in sizes]


def _copy(size_bytes: int, itemsize: int) -> Layer:
    """Return a copy that reads and writes `size_bytes` in all."""
    rows = max(1, size_bytes // (2 * itemsize * _ROW))
    return _probe(ConvProblem(1, 1, (rows, _ROW), 1), f"copy {size_bytes >> 10} KiB")


def _probe(problem: ConvProblem, name: str) -> Layer:
    return Layer(problem, name=name, role=ROOFLINE)
