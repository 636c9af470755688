"""What a call runs: PyTorch's operators, oneDNN's primitives; found in calls of its own."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from convsweep.backends.base import Conv, Implementation
from convsweep.formatting import error_line

_MOST_CALLS, _MOST_S = 20, 0.003
_LEAST_SHARE = 0.05  # of all operators' time: shorter ones are not named
_MOST_NAMES = 3
COPIES = ("aten::copy_",)
_NO_WORK = ("empty", "as_strided", "resize", "view", "convolution", "conv1d", "conv2d", "conv3d",
            "_convolution")  # fmt: skip
"""Prefixes of operators that allocate, give a view, or choose the operator that computes."""


class Primitive(NamedTuple):
    """One line of oneDNN's verbose output."""

    kind: str
    """Such as `convolution`, `reorder`."""
    implementation: str
    """Such as `jit_dw:avx512_core`."""
    memory: str
    """Descriptors of its tensors."""
    shape: str
    """Such as `1x16x28x28` of a reorder."""
    seconds: float


def trace(conv: Conv, x: Tensor, call_s: float) -> Implementation:
    """Return what `conv(x)` runs; a function that tells it itself is asked instead."""
    try:
        if told := getattr(conv, "implementation", None):
            found: Implementation = told(x)
            return found
        calls = max(1, min(_MOST_CALLS, int(_MOST_S / call_s)))
        return _traced(lambda: conv(x), calls)
    except Exception as error:
        return Implementation(reason=error_line(error))


def _traced(call: Callable[[], object], calls: int) -> Implementation:
    with captured_output() as lines:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            call()
        mkldnn: Any = torch.backends.mkldnn  # its classes have no types
        with mkldnn.verbose(mkldnn.VERBOSE_ON):
            for _ in range(calls):
                call()
    primitives = primitives_in(lines)
    reorders = [p for p in primitives if p.kind == "reorder"]
    kernels = [p for p in primitives if p.kind != "reorder"]
    events = [event for event in profiler.events() if computes(event)]
    copies = [event for event in events if event.name in COPIES]
    others = [event for event in events if event.name not in COPIES]
    hosts = [event for event in others if "mkldnn" in event.name]
    alone = sum(event.self_cpu_time_total for event in others if event not in hosts) / 1e6
    copies_s = sum(event.self_cpu_time_total for event in copies) / 1e6
    names = [*_largest(others), *Counter(p.implementation for p in kernels)]
    return Implementation(
        " + ".join(names),
        len(reorders) // calls + len(copies),
        alone + sum(p.seconds for p in kernels) / calls,
        copies_s + sum(p.seconds for p in reorders) / calls,
        "" if names else "no operator of PyTorch ran",
    )


def computes(event: FunctionEvent) -> bool:
    """Return whether an operator computes or copies, and does not only choose or allocate."""
    name = event.name.removeprefix("aten::")
    return name != event.name and not name.startswith(_NO_WORK)


def _largest(events: Sequence[FunctionEvent]) -> list[str]:
    times: Counter[str] = Counter()
    for event in events:
        times[event.name] += event.self_cpu_time_total
    least = _LEAST_SHARE * sum(times.values())
    return [name for name, time in times.most_common(_MOST_NAMES) if time >= least]


def primitives_in(lines: Sequence[str]) -> list[Primitive]:
    """Return the primitives that oneDNN executed, in their order."""
    ran = (line for line in lines if line.startswith("onednn_verbose") and ",exec,cpu," in line)
    return [*map(parse_verbose, ran)]


def parse_verbose(line: str) -> Primitive:
    """Parse a line `onednn_verbose,v1,primitive,exec,cpu,KIND,IMPLEMENTATION,...,MILLISECONDS`."""
    cells = line.split(",")
    start = cells.index("cpu") + 1
    kind, implementation, _, memory = cells[start : start + 4]
    return Primitive(kind, implementation, memory, cells[-2], float(cells[-1]) / 1e3)


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Yield a list that has the lines written to standard output and error, once it ends."""
    lines: list[str] = []
    libc = ctypes.CDLL(None)
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with TemporaryFile() as file:
        libc.fflush(None)
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield lines
        finally:
            libc.fflush(None)
            for descriptor, kept in zip((1, 2), saved, strict=True):
                os.dup2(kept, descriptor)
                os.close(kept)
        file.seek(0)
        lines += file.read().decode(errors="replace").splitlines()
