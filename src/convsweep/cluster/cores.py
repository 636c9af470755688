"""Which cores a node's slot measures on: those that Ray's own processes leave free, if it can."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager


def choose(allowed: Collection[int], rays: Collection[int], threads: int) -> tuple[int, ...]:
    """The cores that Ray's processes may not use, where they are enough; else all there are.

    Args:
        allowed: the cores that this process may be moved to.
        rays: those that Ray's own processes stay on.
        threads: how many are needed.
    """
    spare = set(allowed) - set(rays)
    return tuple(sorted(spare if len(spare) >= threads else allowed))


def spare_cores(threads: int) -> tuple[int, ...] | None:
    """The same of this process, which a node's daemon has started: it is where that one is.

    None where the system knows no affinities.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    rays = os.sched_getaffinity(0)
    with every_core():
        allowed = os.sched_getaffinity(0)
    return choose(allowed, rays, threads)


@contextmanager
def every_core() -> Iterator[None]:
    """Within, this thread may run on all cores that the kernel gives its process."""
    with staying_on(range(os.cpu_count() or 1)):
        yield


@contextmanager
def staying_on(cores: Collection[int]) -> Iterator[None]:
    """Within, this thread, and what it starts, stays on these cores."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
