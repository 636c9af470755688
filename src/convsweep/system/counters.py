"""Counts of a process: page faults, context switches, hardware counters, energy.

Packages for `perf_event_open` count one thread; this module counts those that libraries start too.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HARDWARE = 0, {"cycles": 0, "instructions": 1, "cache_misses": 3}
"""Kind of event of `perf_event_open`, and the events."""
POWERCAP = Path("/sys/class/powercap")

_SYSTEM_CALL = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTES = struct.Struct("=IIQQQQQ16x")  # kind, size, event, period, samples, format, flags
_WITH_TIMES = 0b11  # format: count, time enabled, time running
_FLAGS = 1 << 1 | 1 << 5 | 1 << 6  # inherit, exclude_kernel, exclude_hv
_CLOSE_ON_EXEC = 8


class Counts(NamedTuple):
    """Counts of a process until a time; None if they cannot be read."""

    page_faults: float | None = None
    context_switches: float | None = None  # Involuntary ones: another process got the core
    cycles: float | None = None
    instructions: float | None = None
    cache_misses: float | None = None
    energy_j: float | None = None

    def add(self, before: Counts, after: Counts) -> Counts:
        """Return these counts plus `after` minus `before`."""
        return Counts(*map(_add, self, before, after))

    def columns(self, calls: int) -> dict[str, Any]:
        """Return the columns of a row: counts per call, and all context switches."""
        counts = self._asdict()
        switches = counts.pop("context_switches")
        per_call = {
            f"{name}_per_call": None if one is None else one / calls for name, one in counts.items()
        }
        return {"context_switches": switches, **per_call}


ZERO = Counts(*[0] * len(Counts._fields))


def _add(total: float | None, before: float | None, after: float | None) -> float | None:
    if total is None or before is None or after is None or after < before:  # energy wraps
        return None
    return total + after - before


class Counters:
    """Counters of this process. Those of the hardware include threads that start later."""

    def __init__(
        self, hardware: tuple[int, Mapping[str, int]] = HARDWARE, powercap: Path = POWERCAP
    ) -> None:
        kind, events = hardware
        self.status: dict[str, str] = {}
        """`readable` per count, or the reason why it is empty."""
        self._hardware: dict[str, int] = {}
        self._energy: list[Path] = []
        for name, event in events.items():
            with self._reason(name):
                self._hardware[name] = _open(kind, event)
        with self._reason("energy_j"):
            self._energy += _energy_files(powercap)
        if self.read().cycles == 0:
            self.close()
            self.status |= dict.fromkeys(events, "not readable: cycles stay 0")

    @contextmanager
    def _reason(self, name: str) -> Iterator[None]:
        try:
            yield
            self.status[name] = "readable"
        except OSError as error:
            self.status[name] = f"not readable: {error}"

    def read(self) -> Counts:
        """Return the counts until now."""
        counts = {name: _read(file) for name, file in self._hardware.items()}
        if self._energy:
            counts["energy_j"] = sum(int(file.read_text()) for file in self._energy) / 1e6
        return system_counts()._replace(**counts)

    def close(self) -> None:
        """Close the hardware counters."""
        while self._hardware:
            os.close(self._hardware.popitem()[1])


def system_counts() -> Counts:
    """Return the counts of the operating system, if it has them."""
    try:
        import resource
    except ImportError:  # Windows
        return Counts()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Counts(used.ru_minflt + used.ru_majflt, used.ru_nivcsw)


def _open(kind: int, event: int) -> int:
    """Return the file of a counter of this process outside the kernel."""
    if platform.system() != "Linux" or (call := _SYSTEM_CALL.get(platform.machine())) is None:
        raise OSError("only on Linux on x86-64 and ARM")
    attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, event, 0, 0, _WITH_TIMES, _FLAGS)
    file: int = ctypes.CDLL(None, use_errno=True).syscall(
        call, attributes, 0, -1, -1, ctypes.c_ulong(_CLOSE_ON_EXEC)
    )
    if file < 0:
        raise OSError(f"perf_event_open: {os.strerror(ctypes.get_errno())}")
    return file


def _read(file: int) -> float | None:
    """Return the count, or None if the counter shared its register with others."""
    count, enabled, ran = struct.unpack("=QQQ", os.read(file, 24))
    return float(count) if ran == enabled else None


def _energy_files(powercap: Path) -> list[Path]:
    """Return the readable counters of the processor packages, in microjoules."""
    names = [*powercap.glob("intel-rapl:*/name")]
    files = [name.with_name("energy_uj") for name in names if "package" in name.read_text()]
    if not files:
        raise OSError(f"{powercap} has no processor package")
    for file in files:
        file.read_text()
    return files
