"""Devices of this machine, and clocks that time work on them.

All accelerators are used through `torch.accelerator` and `torch.Event`: CUDA, XPU, MPS and devices
that a package registers (`vulkan`).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from time import perf_counter_ns
from types import ModuleType
from typing import TYPE_CHECKING

from convsweep.system.peak_memory import peak_of
from convsweep.system.processor import cpu_caches, cpu_name

if TYPE_CHECKING:
    import torch

TimedCall = Callable[[], object]
Clock = Callable[[TimedCall], float]
"""Returns the seconds from the start of some work until the device has finished it."""

_MIN_CACHE_BYTES = 2**25  # also if the size is unknown

_PROFILED = ("cuda", "xpu")
_REGISTERED_BY = {"vulkan": "torchvulkan"}  # device type: package whose import registers it
_TYPES = ("cpu", "cuda", "hip", "hpu", "mps", "mtia", "privateuseone", "vulkan", "xpu")
"""Types that PyTorch has; its import adds those of the entry points `torch.backends`."""


@dataclass(frozen=True)
class Device:
    """Device that cases run on, with its clock and caches."""

    name: str  # Torch's name: cpu, cuda, cuda:1, vulkan
    description: str  # Product name
    synchronize: Callable[[], None]  # Waits until all submitted work is done
    clock: Clock
    cache_bytes: int  # Size of its largest cache
    flush_caches: Callable[[], None]  # Reads and writes more than all caches contain
    peak_memory: Callable[[TimedCall], int | None] = lambda work: None
    """Returns the peak bytes of some work beyond those in use before it, including its result, or
    None if unknown."""
    profiled_as: str | None = None
    """Name of the device for PyTorch's profiler, if that records its kernels."""

    @cached_property
    def clock_overhead_s(self) -> float:
        """Seconds that the clock adds to a reading: the median of 31 without work."""
        return statistics.median(self.clock(lambda: None) for _ in range(31))


def device_names() -> list[str]:
    """Return the names of all devices of this machine."""
    import torch

    names = ["cpu"]
    if torch.accelerator.current_accelerator(check_available=True) is None:
        for module in filter(find_spec, _REGISTERED_BY.values()):
            import_module(module)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        count = torch.accelerator.device_count()
        names.append(accelerator.type)
        names += [f"{accelerator.type}:{index}" for index in range(count) if count > 1]
    return names


def find_device(name: str) -> Device:
    """Return the device of that name and make it current.

    Raises:
        ValueError: the machine has no such device; lists those that it has.
    """
    if name == "cpu":
        return _cpu()
    kind, _, index = name.partition(":")
    if not (kind in _TYPES or "torch" in sys.modules or entry_points(group="torch.backends")):
        raise ValueError(f"device {name!r} is unknown to PyTorch, which has {', '.join(_TYPES)}")
    import torch

    if name not in (names := device_names()):
        raise ValueError(f"device {name!r} is not on this machine, which has {', '.join(names)}")
    device = torch.device(kind, int(index or 0))
    torch.accelerator.set_device_index(device)

    def synchronize() -> None:
        torch.accelerator.synchronize(device)

    event = partial(torch.Event, device, enable_timing=True)
    clock = event_clock(event, synchronize) if has_events(event) else host_clock(synchronize)
    module = torch.get_device_module(device)
    properties = getattr(module, "get_device_properties", lambda index: None)(device.index)
    cache_bytes = max(_MIN_CACHE_BYTES, int(getattr(properties, "L2_cache_size", 0)))
    return Device(
        name,
        getattr(module, "get_device_name", lambda index: name)(device.index),
        synchronize,
        clock,
        cache_bytes,
        flusher(name, cache_bytes),
        partial(_peak_allocated, module, synchronize),
        kind if kind in _PROFILED else None,
    )


@cache
def _cpu() -> Device:
    """Return the CPU; its clock is read 31 times once per process."""
    size = max([_MIN_CACHE_BYTES, *cpu_caches().values()])
    clock = host_clock(lambda: None)
    return Device("cpu", cpu_name(), lambda: None, clock, size, flusher("cpu", size), peak_of)


def host_clock(synchronize: Callable[[], None]) -> Clock:
    """Return the host's clock, which reads from the start of work to its completion."""

    def seconds(work: TimedCall) -> float:
        synchronize()
        start = perf_counter_ns()
        work()
        synchronize()
        return (perf_counter_ns() - start) * 1e-9

    return seconds


def event_clock(event: Callable[[], torch.Event], synchronize: Callable[[], None]) -> Clock:
    """Return the device's clock, which uses events queued before and after the work."""

    def seconds(work: TimedCall) -> float:
        start, end = event(), event()
        synchronize()
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3

    return seconds


@cache
def flusher(device: str, cache_bytes: int) -> Callable[[], None]:
    """Return a function that reads and writes twice the size of the caches.

    A plain fill would not do: large stores bypass the caches. Memory is allocated at first use.
    """
    buffer: list[torch.Tensor] = []

    def flush() -> None:
        if not buffer:
            import torch

            buffer.append(torch.zeros(2 * cache_bytes // 4, dtype=torch.int32, device=device))
        buffer[0].add_(1)

    return flush


def _peak_allocated(
    module: ModuleType, synchronize: Callable[[], None], work: TimedCall
) -> int | None:
    """Return the peak bytes that an accelerator's allocator reports for some work, or None."""
    names = ("memory_allocated", "reset_peak_memory_stats", "max_memory_allocated")
    if not all(hasattr(module, name) for name in names):
        return None
    before = int(module.memory_allocated())
    module.reset_peak_memory_stats()
    work()
    synchronize()
    return int(module.max_memory_allocated()) - before


def has_events(event: Callable[[], torch.Event]) -> bool:
    """Return whether the device supports timed events."""
    try:
        event_clock(event, lambda: None)(lambda: None)
    except RuntimeError:
        return False
    return True


def use_full_precision() -> None:
    """Turn off TF32, sums in 16 bits and cuDNN's autotuning."""
    import torch

    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
