"""Devices: which there are, and how to time work on one. No other file knows about devices.

Everything goes through `torch.accelerator` and `torch.Event`, so that CUDA, XPU, MPS and devices
registered by a package (`vulkan`) take one path.
"""

from __future__ import annotations

import platform
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter_ns
from types import ModuleType
from typing import Protocol, cast

import torch

from convsweep.system.peak_memory import peak_of

Work = Callable[[], object]
Clock = Callable[[Work], float]
"""Seconds from the start of some work until the device has finished it."""

_LEAST_CACHE_BYTES = 2**25  # also where a device does not tell how much it has

# Device types that a package registers with torch when it is imported.
_REGISTERED_BY = {"vulkan": "torchvulkan"}


class Event(Protocol):
    """The part of `torch.Event` that timing needs."""

    def record(self) -> None:
        """Mark this place in the device's queue."""

    def synchronize(self) -> None:
        """Wait until the device has reached the mark."""

    def elapsed_time(self, end: Event, /) -> float:
        """Milliseconds from this mark to `end`."""


@dataclass(frozen=True)
class Device:
    """Where cases run."""

    name: str
    """As torch spells it: cpu, cuda, cuda:1, vulkan."""
    description: str
    """The product's name."""
    synchronize: Callable[[], None]
    """Wait until all work handed to the device is done."""
    clock: Clock
    cache_bytes: int
    """Of its largest cache, shared ones counted whole."""
    flush_caches: Callable[[], None]
    """Read and write more than all caches hold, so that nothing timed is left in them."""
    peak_memory: Callable[[Work], int | None] = lambda work: None
    """Bytes that some work needs at its peak beyond those in use before it, its answer among them;
    None where the device does not tell."""

    def clock_overhead_s(self) -> float:
        """What the clock itself adds to a reading: the median of 31 readings of no work."""
        return statistics.median(self.clock(lambda: None) for _ in range(31))


def device_names() -> list[str]:
    """Every name that `find_device` takes here."""
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
    """The device of that name, made current.

    Raises:
        ValueError: it is not there; names those that are.
    """
    if name == "cpu":
        cache_bytes = _cpu_caches()
        return Device(
            "cpu",
            cpu_name(),
            lambda: None,
            host_clock(lambda: None),
            cache_bytes,
            flusher("cpu", cache_bytes),
            peak_of,
        )
    there = device_names()
    if name not in there:
        raise ValueError(f"device {name!r} is not on this machine; there is {', '.join(there)}")
    kind, _, index = name.partition(":")
    device = torch.device(kind, int(index or 0))
    torch.accelerator.set_device_index(device)

    def synchronize() -> None:
        torch.accelerator.synchronize(device)

    def event() -> Event:
        return cast(Event, torch.Event(device, enable_timing=True))

    clock = event_clock(event, synchronize) if has_events(event) else host_clock(synchronize)
    module = torch.get_device_module(device)
    cache_bytes = _accelerator_caches(module, device.index)
    return Device(
        name,
        getattr(module, "get_device_name", lambda index: name)(device.index),
        synchronize,
        clock,
        cache_bytes,
        flusher(name, cache_bytes),
        partial(_peak_allocated, module, synchronize),
    )


def host_clock(synchronize: Callable[[], None]) -> Clock:
    """The host's clock around work and its completion; without `synchronize`, launches alone."""

    def seconds(work: Work) -> float:
        synchronize()
        start = perf_counter_ns()
        work()
        synchronize()
        return (perf_counter_ns() - start) * 1e-9

    return seconds


def event_clock(event: Callable[[], Event], synchronize: Callable[[], None]) -> Clock:
    """The device's own clock: events queued before and after the work."""

    def seconds(work: Work) -> float:
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
    """Something that reads and writes twice what the caches hold; its memory is taken when used.

    Not a plain fill: large stores go past the caches and would leave them as they are.
    """
    buffer: list[torch.Tensor] = []

    def flush() -> None:
        if not buffer:
            buffer.append(torch.zeros(2 * cache_bytes // 4, dtype=torch.int32, device=device))
        buffer[0].add_(1)

    return flush


def _peak_allocated(module: ModuleType, synchronize: Callable[[], None], work: Work) -> int | None:
    """What an accelerator's allocator tells of its peak."""
    names = ("memory_allocated", "reset_peak_memory_stats", "max_memory_allocated")
    if not all(hasattr(module, name) for name in names):
        return None
    before = int(module.memory_allocated())
    module.reset_peak_memory_stats()
    work()
    synchronize()
    return int(module.max_memory_allocated()) - before


@cache
def _cpu_caches() -> int:
    """Bytes of the largest cache of a core, shared ones counted whole."""
    sizes = [_LEAST_CACHE_BYTES]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        if match := re.fullmatch(r"(\d+)([KMG]?)", path.read_text(encoding="utf-8").strip()):
            sizes.append(int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]])
    return max(sizes)


def _accelerator_caches(module: object, index: int) -> int:
    """Bytes of the device's L2, where it tells."""
    properties = getattr(module, "get_device_properties", lambda index: None)(index)
    return max(_LEAST_CACHE_BYTES, int(getattr(properties, "L2_cache_size", 0)))


def has_events(event: Callable[[], Event]) -> bool:
    """Whether the device times events; some only run."""
    try:
        event_clock(event, lambda: None)(lambda: None)
    except RuntimeError:
        return False
    return True


def use_full_precision() -> None:
    """Turn TF32 off in convolutions and matrix products alike, and fix what cuDNN may choose."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False


@cache
def cpu_name() -> str:
    """The processor's product name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
