"""Cores of a node's slot: those without Ray's own processes, if there are enough."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager


def choose(allowed: Collection[int], ray_cores: Collection[int], threads: int) -> tuple[int, ...]:
    """Return the allowed cores without those of Ray, if `threads` are left; else all allowed."""
    spare = set(allowed) - set(ray_cores)
    return tuple(sorted(spare if len(spare) >= threads else allowed))


def spare_cores(threads: int) -> tuple[int, ...] | None:
    """Return the cores of this node's slot. Returns None on systems without affinities.

    Ray's daemon has started this process, which therefore has the cores of Ray.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    ray_cores = os.sched_getaffinity(0)
    with every_core():
        allowed = os.sched_getaffinity(0)
    return choose(allowed, ray_cores, threads)


def every_core() -> AbstractContextManager[None]:
    """Let this thread run on all cores of the machine."""
    return staying_on(range(os.cpu_count() or 1))


@contextmanager
def staying_on(cores: Collection[int]) -> Iterator[None]:
    """Keep this thread, and processes that it starts, on these cores."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
