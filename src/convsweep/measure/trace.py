"""What one call runs: PyTorch's operators, oneDNN's primitives, an accelerator's kernels.

It is found in calls of its own, after timing.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._profiler import _RecordFunctionFast
from torch.autograd.profiler import profile

from convsweep.backends.base import Implementation
from convsweep.formatting import error_line
from convsweep.problems.onednn_log import Primitive, primitives_in
from convsweep.system.devices import Device
from convsweep.system.streams import captured_output

_CUTLASS = re.compile(r"cutlass::Kernel\d*<(\w+)")
_MOVES = re.compile("memcpy|memset|copy|catarray|fill|transpose|nchwtonhwc|nhwctonchw", re.I)
_ONEDNN = re.compile("mkldnn|onednn")
_BACKWARD = "aten::convolution_backward"
_COMPUTES = re.compile(r"aten::(convolution_backward|_?slow_conv\w+)")
"""Operators that compute by themselves, in a library or in loops, whatever they call besides."""
_PRODUCTS = {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"}
_MOST_CALLS, _MOST_S = 6, 0.003
_MOST_DISCARDED = 3
_CALL = "convsweep_call"
COPIES = {"aten::copy_", "aten::cat", "aten::fill_", "aten::zero_"}
_NO_WORK = re.compile(
    r"""aten::(_conj|_local_scalar_dense|_nnpack_available|_reshape_alias|_to_copy|_unsafe_view|alias
    |arange|as_strided_?|chunk|clone|constant_pad_nd|contiguous|_?convolution|conv[123]d|detach|diagonal
    |(new_)?empty\w*|expand\w*|flatten|full|imag|item|lift_fresh|mT|movedim|narrow|(new_)?zeros\w*|numpy_T
    |ones\w*|pad|permute|real|repeat|reshape|resize_|resize_as_|resolve_\w+|result_type|select(_backward)?|set_
    |slice(_backward)?|split\w*|squeeze|stack|swapaxes|t|to|transpose|unbind|unflatten|unfold|unsqueeze|view\w*)""",
    re.VERBOSE,
)
"""Operators that allocate, give a view, or leave the work to operators that they call."""
_ALLOCATES = re.compile(r"aten::((new_)?empty|resize_)")
_GENERATED = re.compile(r"graph_\d+_(?=cpp_fused_)")  # before the name of a kernel of Inductor
_CONVERTS = re.compile(r"cpp_fused_(convolution_)?\d+")  # one that is made of no other operator


class Operator(NamedTuple):
    """One operator of PyTorch that computes, or a copy."""

    name: str
    seconds: float  # without the operators that it calls


class TracedCall(NamedTuple):
    """One call, in the order of its work."""

    operators: list[Operator]
    primitives: list[Primitive]
    """Of oneDNN. Operators contain their time."""
    kernels: list[Operator]  # of an accelerator; the launches are part of operators
    allocation_s: float = 0.0


def trace(
    conv: Callable[[Tensor], object], x: Tensor, call_s: float, device: Device
) -> Implementation:
    """Return what `conv(x)` runs; a function that tells it itself is asked instead."""
    try:
        if tell := getattr(conv, "implementation", None):
            if isinstance(found := tell(x), Implementation):
                return found
            raise TypeError(f"it must tell an Implementation, not {found!r}")
        calls = max(1, min(_MOST_CALLS, int(_MOST_S / max(2 * call_s, 1e-9))))
        return summarize(record(lambda: conv(x), calls, device), on_cpu=device.name == "cpu")
    except Exception as error:
        return Implementation(reason=error_line(error))


def record(call: Callable[[], object], calls: int, device: Device) -> list[TracedCall]:
    """Return the work of several calls, after as many or three others; or of a single call.

    The first calls under a profiler take up to five times as long. Gradients of an accelerator are
    computed in this thread, so that their operators belong to the call.

    Raises:
        RuntimeError: another profiler is running.
    """
    if torch.autograd._profiler_enabled():  # type: ignore[attr-defined]
        raise RuntimeError("another profiler is running")
    profiler: Any = profile(use_kineto=True, use_device=device.profiled_as)
    discarded = min(calls, _MOST_DISCARDED) if calls > 1 else 0
    mkldnn: Any = torch.backends.mkldnn  # its classes have no types
    level = mkldnn.VERBOSE_ON if mkldnn.is_available() else mkldnn.VERBOSE_OFF
    one_thread: Any = torch.autograd.set_multithreading_enabled(False)
    with captured_output() as lines, mkldnn.verbose(level), profiler, one_thread:
        for _ in range(calls + discarded):
            os.write(1, f"\n{_CALL}\n".encode())
            with _RecordFunctionFast(_CALL):
                call()
                device.synchronize()
    found = profiler.kineto_results
    roots = [event for event in found.experimental_event_tree() if event.name == _CALL]
    kernels = [*_kernels(found.events())] if device.profiled_as else []
    printed = "\n".join([*lines, ""]).split(f"\n{_CALL}\n")[1:]
    return [
        TracedCall(
            operators,
            primitives_in(own.splitlines()),
            [one for start, one in kernels if root.start_time_ns <= start < root.end_time_ns],
            allocation_s,
        )
        for root, own in zip(roots[discarded:], printed[discarded:], strict=True)
        for operators, allocation_s in [_work(root)]
    ]


def _work(event: Any) -> tuple[list[Operator], float]:
    """Return the innermost operators of an event that compute, and the copies, in their order.

    Also return the seconds in which it allocates memory, without mapping it.
    """
    name, own_ns = event.name, event.duration_time_ns
    operators: list[Operator] = []
    allocation_s, called_ns = 0.0, 0
    for child in event.children:
        inner, inner_s = _work(child)
        operators += inner
        allocation_s += inner_s
        called_ns += child.duration_time_ns
    if _ALLOCATES.match(name):
        allocation_s = own_ns * 1e-9
    if name in COPIES:
        return [Operator(name, own_ns * 1e-9)], allocation_s
    computes = _computes(name)
    if computes is None:
        computes = all(one.name in COPIES for one in operators)
    if computes and event.tag.name == "TorchOp":
        operators.append(Operator(_GENERATED.sub("", name), (own_ns - called_ns) * 1e-9))
    return operators, allocation_s


@cache
def _computes(name: str) -> bool | None:
    """Return whether an event computes by itself; None if only without an inner operator."""
    if _COMPUTES.fullmatch(name):
        return True
    is_operator = ("::" in name and "autograd::" not in name) or _GENERATED.match(name)
    return None if is_operator and not _NO_WORK.fullmatch(name) else False


def _kernels(events: Iterable[Any]) -> Iterator[tuple[int, Operator]]:
    """Yield start and kernel of an accelerator's events."""
    for event in events:
        if event.device_type().name != "CPU" and event.name() != _CALL:
            yield event.start_ns(), Operator(event.name(), event.duration_ns() * 1e-9)


def summarize(calls: list[TracedCall], *, on_cpu: bool) -> Implementation:
    """Return the names and counts of the last call, and the mean seconds of the middle ones."""
    known = [part for call in calls if (part := divide(call, on_cpu=on_cpu))]
    names = dict.fromkeys(one.name for one in calls[-1].operators)
    computing = [name for name in names if name not in COPIES] or [*names]
    if not computing:
        return Implementation(reason="no operator of PyTorch ran")
    if len(known) < len(calls):
        ran = [one.implementation for one in calls[-1].primitives if one.kind != "reorder"]
        return Implementation(" + ".join(dict.fromkeys([*computing, *ran])))
    steps = [kernel_name(one.name) for one in known[-1][0]]
    cut = len(known) // 4
    kernel_s, reorder_s = (
        fmean(sorted(sum(one.seconds for one in own) for own in side)[cut : len(known) - cut])
        for side in zip(*known, strict=True)
    )
    name = " + ".join(dict.fromkeys([*computing, *steps]))
    return Implementation(name, len(known[-1][1]), kernel_s, reorder_s)


def divide(call: TracedCall, *, on_cpu: bool) -> tuple[list[Operator], list[Operator]] | None:
    """Return what computes and what moves data, each with its time; None if that is unknown.

    Where an operator calls oneDNN or an accelerator, these are the primitives or kernels.
    """
    if call.kernels:
        moves = [one for one in call.kernels if _MOVES.search(one.name)]
        return [one for one in call.kernels if one not in moves], moves
    moves = [one for one in call.operators if one.name in COPIES or _CONVERTS.fullmatch(one.name)]
    computing = [one for one in call.operators if one not in moves]
    steps = [one for one in call.primitives if one.kind != "reorder"]
    moves += [Operator(p.implementation, p.seconds) for p in call.primitives if p not in steps]
    products = [one for one in computing if one.name in _PRODUCTS]
    if sum(one.kind == "matmul" for one in steps) != len(products):  # some are MKL's
        products, steps = [], [one for one in steps if one.kind != "matmul"]
    hosts = [one for one in computing if one.name == _BACKWARD]
    gradients = Counter(re.findall(r":(backward_\w+)", " ".join(p.implementation for p in steps)))
    most = max(gradients.values(), default=0)  # each host runs one primitive per gradient, or none
    inner = [one for one in computing if _ONEDNN.search(one.name) or one in products]
    inner += hosts if most else []
    if not on_cpu or (inner and not steps) or 0 < most < len(hosts):
        return None
    alone = [one for one in computing if one not in inner]
    return [*alone, *(Operator(one.implementation, one.seconds) for one in steps)], moves


def kernel_name(signature: str) -> str:
    """Return a kernel's name without its template and parameters, but with that of CUTLASS."""
    name = signature.removeprefix("void ").replace("(anonymous namespace)::", "")
    if match := _CUTLASS.match(name):
        return match[1]
    return re.split("[<(]", name, maxsplit=1)[0].strip()
