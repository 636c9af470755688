"""Setup of a worker process: threads, cores, allocator, priority, memory limit and layout.

Placement in memory is drawn anew in every process, because one fixed layout biases results
(Curtsinger & Berger 2013, Stabilizer).
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING

from convsweep.descriptors import c_library

if TYPE_CHECKING:
    import torch

ALLOCATORS = ("retain", "system")  # Values of `--allocator`

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_NICENESS = -10

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

_PADS, _LARGEST_PAD = 8, 2**20
_SPARE_BYTES = 2**26

_IDLE_STEP_S, _MAX_WAIT_S = 0.002, 0.2
_IDLE_SHARE = 0.1  # CPU share below which a process is idle


def wait_until_idle() -> None:
    """Wait until no thread of this process spins; some do for 50 ms. Gives up after 0.2 s."""
    until_s = perf_counter() + _MAX_WAIT_S
    while perf_counter() < until_s:
        before_s = process_time()
        sleep(_IDLE_STEP_S)
        if process_time() - before_s < _IDLE_SHARE * _IDLE_STEP_S:
            return


def retain_memory() -> str:
    """Keep freed memory in the process. Return "retain", or "system" if not supported.

    By default glibc returns large blocks to the kernel. A convolution that allocates its output
    then page-faults at every call, which would decide a comparison.
    """
    try:
        mallopt = c_library().mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return "system"
    largest = 2**31 - 1
    settings = ((_M_TRIM_THRESHOLD, largest), (_M_MMAP_THRESHOLD, largest), (_M_TOP_PAD, 2**26))
    accepted = [mallopt(*setting) for setting in settings]
    return "retain" if all(accepted) else "system"


def fix_threads(threads: int) -> None:
    """Set the size of torch's thread pool, and of those that libraries create from now on."""
    import torch

    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    torch.set_num_threads(threads)


def pin(threads: int, among: Collection[int] | None = None) -> list[int] | None:
    """Pin the process to the last `threads` cores of `among`, by default of all allowed cores.

    The system's own work prefers the first cores. Return the cores, or None if not supported.
    """
    with suppress(AttributeError, OSError):
        cores = sorted(among or os.sched_getaffinity(0))[-threads:]
        os.sched_setaffinity(0, cores)
        return cores
    return None


def take_priority() -> int | None:
    """Raise the priority if allowed; return the niceness, or None if there is none."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    with suppress(AttributeError, OSError):
        return os.getpriority(os.PRIO_PROCESS, 0)
    return None


def limit_memory(limit_bytes: int | None) -> None:
    """Make allocations beyond the limit fail. A lower limit set by the user is kept.

    64 MiB of it are reserved for `use_spare_memory`.
    """
    if limit_bytes is None:
        return
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most - _SPARE_BYTES, most))


def use_spare_memory() -> None:
    """Release the reserved memory, so that a full process can report its failure."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def randomize_heap_layout(rng: random.Random) -> list[torch.Tensor]:
    """Return blocks of random sizes. Keep them: later allocations have other addresses.

    Forked processes would otherwise all get the same addresses.
    """
    import torch

    return [torch.empty(rng.randrange(1, _LARGEST_PAD), dtype=torch.uint8) for _ in range(_PADS)]


def address_randomization() -> str | None:
    """Return the kernel's setting of address space randomization, or None if unknown."""
    levels = {"0": "off", "1": "stack and libraries", "2": "stack, libraries and heap"}
    with suppress(OSError):
        level = Path("/proc/sys/kernel/randomize_va_space").read_text(encoding="utf-8").strip()
        return levels.get(level, level)
    return None
