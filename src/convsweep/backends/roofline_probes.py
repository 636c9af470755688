"""What a machine can do at best, measured as cases like any other: a matrix product and a copy.

They are the two roofs of a roofline (Williams, Waterman & Patterson 2009). The matrix product is
the 1x1 convolution of a signal. The copy multiplies what it copies by one number, as Scale of
STREAM does (McCalpin 1995): a 1x1 convolution of one channel, so that both pass the same gate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results.schema import ROOFLINE

_SIDES = {"vulkan": (256,), "cpu": (384, 1024)}  # of a square matrix; in software a small one
_SIDES_ELSEWHERE = (1024, 4096)
_CACHE_SHARES = (1 / 64, 1 / 8, 1 / 2, 2)
"""Of the largest cache: what a copy reads and writes."""
_SHARES_IN_SOFTWARE = (1 / 8,)  # its memory is the host's: one slow copy tells its rate
PROBE_PASSES = 5
"""In which ceilings are measured: they cost as much as many cases."""
_ROW = 1024  # elements of an image's row: a signal so long would be more than a problem may have


def _prepare_matmul(problem: ConvProblem, weights: Weights) -> Conv:
    matrix = weights.dense.flatten(1)  # (C_out, C_in)

    def conv(x: Tensor) -> Tensor:
        return torch.mm(matrix, x[0])[None]

    return conv


def _prepare_copy(problem: ConvProblem, weights: Weights) -> Conv:
    factor = weights.dense.flatten()[0]

    def conv(x: Tensor) -> Tensor:
        return x * factor

    return conv


MATMUL = Backend("matmul", _prepare_matmul, source="PyTorch")
COPY = Backend("copy", _prepare_copy, source="McCalpin 1995, STREAM", nominal_macs_per_s=2e9)
PROBE_BACKENDS = {backend.name: backend for backend in (MATMUL, COPY)}


def roofline_probes(device: str, itemsize: int, cache_bytes: int) -> list[tuple[Layer, str]]:
    """The layers that measure a device, each with its backend's name.

    Args:
        device: its name, such as cpu or cuda:1.
        itemsize: bytes of an element.
        cache_bytes: of the device's largest cache.
    """
    kind = device.partition(":")[0]
    products = [
        (_probe(ConvProblem(side, side, (side,), 1), f"matrix product {side}"), "matmul")
        for side in _SIDES.get(kind, _SIDES_ELSEWHERE)
    ]
    shares = _SHARES_IN_SOFTWARE if kind == "vulkan" else _CACHE_SHARES
    sizes = [int(share * cache_bytes) for share in shares]
    return products + [(_copy(size, itemsize), "copy") for size in sizes]


def _copy(size_bytes: int, itemsize: int) -> Layer:
    """A copy that reads and writes so many bytes in all."""
    rows = max(1, size_bytes // (2 * itemsize * _ROW))
    return _probe(ConvProblem(1, 1, (rows, _ROW), 1), f"copy {size_bytes >> 10} KiB")


def _probe(problem: ConvProblem, name: str) -> Layer:
    return Layer(problem, name=name, role=ROOFLINE)
