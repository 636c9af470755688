"""Launch of workers: each call computes one part of a problem.

A worker is compiled once, for one thread and for several. One function starts all workers at their
addresses, so that the parallel loop, which takes long to compile, is compiled once.
"""

from typing import Any

import numpy as np
import torch
from numba import from_dtype, prange, types
from torch import Tensor

from convsweep.backends.kernels.compiling import Entry, kernel, parallel_kernel, run
from convsweep.backends.kernels.vectors import call_address, intrinsic

_LONG = types.int64


def plan_pointer(plan: Any) -> Any:
    """Return the type of the address of a plan, a named tuple of integers, in memory."""
    return types.CPointer(from_dtype(np.dtype([(name, np.int64) for name in plan._fields])))


def worker_with(plan: Any) -> Any:
    """Return the signature (part, parts, plan, x, y, scratch) of workers with a kind of plan."""
    return types.void(_LONG, _LONG, plan_pointer(plan), _LONG, _LONG, _LONG)


def record(plan: Any, **code: Entry) -> Tensor:
    """Return a plan in memory, with the addresses of machine code; it is compiled now."""
    addresses = {name: entry.address for name, entry in code.items()}
    return torch.tensor(plan._replace(**addresses), dtype=torch.int64)


@intrinsic
def _call(
    typing: Any, entry: Any, part: Any, parts: Any, plan: Any, x: Any, y: Any, scratch: Any
) -> Any:
    return types.void(*[types.int64] * 7), call_address


@kernel
def _alone(entry: int, plan: int, x: int, y: int, scratch: int) -> None:
    _call(entry, 0, 1, plan, x, y, scratch)


@parallel_kernel
def _spread(parts: int, entry: int, plan: int, x: int, y: int, scratch: int) -> None:
    for part in prange(parts):
        _call(entry, part, parts, plan, x, y, scratch)


def launch(worker: Entry, parts: int, plan: Tensor, x: Tensor, y: Tensor, scratch: Tensor) -> None:
    """Run all parts of a worker, each on its own thread; `plan` is a `record`."""
    addresses = plan.data_ptr(), x.data_ptr(), y.data_ptr(), scratch.data_ptr()
    run(parts, _alone, _spread, worker.address, *addresses)
