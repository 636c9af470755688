"""The conditions that a measuring process runs under, set by itself as it starts.

What moves a timing without being asked about is fixed where it can be (threads, cores, allocator,
priority) and drawn anew in every process where it can't (placement in memory): what is frozen by
luck looks exact and is wrong (Curtsinger & Berger 2013, Stabilizer).
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time, sleep

import torch

ALLOCATORS = ("retain", "system")
"""What `--allocator` takes."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_NICENESS = -10

# glibc's malloc.h: trim the heap's top, keep beyond it, map blocks of their own.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_PADS, _LARGEST_PAD = 8, 2**20
_SPARE_BYTES = 2**26

_REST_STEP_S, _LONGEST_REST_S = 0.002, 0.2
_IDLE_SHARE = 0.1  # of a step that a process at rest may still be busy for


def wait_until_idle() -> None:
    """Wait until this process's threads stop spinning for work, which some do for 50 ms."""
    until_s = perf_counter() + _LONGEST_REST_S
    while perf_counter() < until_s:
        before_s = process_time()
        sleep(_REST_STEP_S)
        if process_time() - before_s < _IDLE_SHARE * _REST_STEP_S:
            return


def retain_memory() -> str:
    """Keep freed memory in the process; "retain", or "system" where that can't be had.

    glibc gives large blocks back to the kernel, and a convolution that allocates its output then
    page-faults at every call: that, not arithmetic, decides a comparison.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return "system"
    largest = 2**31 - 1
    settings = ((_M_TRIM_THRESHOLD, largest), (_M_MMAP_THRESHOLD, largest), (_M_TOP_PAD, 2**26))
    accepted = [mallopt(*setting) for setting in settings]
    return "retain" if all(accepted) else "system"


def fix_threads(threads: int) -> None:
    """Pools of `threads` threads: torch's, and those that engines make from now on."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    torch.set_num_threads(threads)


def pin(threads: int, among: Collection[int] | None = None) -> list[int] | None:
    """Stay on as many cores as there are threads; which, or None where that can't be had.

    Of those `among` which it may choose; by default those that it is allowed now.

    The last ones: the system's own work prefers the first.
    """
    with suppress(AttributeError, OSError):
        cores = sorted(among or os.sched_getaffinity(0))[-threads:]
        os.sched_setaffinity(0, cores)
        return cores
    return None


def take_priority() -> int | None:
    """Go before other work where that is allowed; the niceness, None where there is none."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    with suppress(AttributeError, OSError):
        return os.getpriority(os.PRIO_PROCESS, 0)
    return None


def limit_memory(limit_bytes: int | None) -> None:
    """Let allocations beyond the limit fail here, before the whole machine runs out.

    A little of it is kept back, for `use_spare_memory`; a lower limit of the user's holds.
    """
    if limit_bytes is None:
        return
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most - _SPARE_BYTES, most))


def use_spare_memory() -> None:
    """Let a process whose memory is used up have what it needs to say so."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def end_with_parent() -> None:
    """Be killed when the parent ends, however it ends; on Linux."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def randomize_heap_layout(rng: random.Random) -> list[torch.Tensor]:
    """Memory of random sizes, to be kept: what is allocated from now on lies elsewhere each time.

    A forked process would otherwise find every block of memory where its siblings found it.
    """
    return [torch.empty(rng.randrange(1, _LARGEST_PAD), dtype=torch.uint8) for _ in range(_PADS)]


def address_randomization() -> str | None:
    """What the kernel says of its randomising of addresses; None where it does not say."""
    levels = {"0": "off", "1": "stack and libraries", "2": "stack, libraries and heap"}
    with suppress(OSError):
        level = Path("/proc/sys/kernel/randomize_va_space").read_text(encoding="utf-8").strip()
        return levels.get(level, level)
    return None
