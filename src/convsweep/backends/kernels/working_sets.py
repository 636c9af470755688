"""Bytes that own kernels work on at a time, from the machine's caches; without Numba."""

from typing import NamedTuple

from convsweep.system.calibration import Machine, machine


class WorkingSets(NamedTuple):
    """Sizes in bytes, per thread. The rest of a cache is for what streams through it.

    Depthwise bands are of equal sizes: those of a plane or block may be up to twice as large.
    """

    band: int
    """Inputs of a band that all panels of weights are multiplied with: half of the L2 cache."""
    panel: int  # outputs of a band and one panel: three quarters of the L1 cache
    plane: int  # padded depthwise inputs of one channel: half of the L1 cache
    block: int  # padded depthwise inputs of a block of channels: a quarter of the L2 cache
    tiles: int  # transformed inputs and outputs of Winograd: the L2 cache


def working_sets(given: Machine | None = None) -> WorkingSets:
    """Return the sizes for a machine, by default this one."""
    known = given or machine()
    l1, l2 = known.l1_bytes, known.l2_bytes
    return WorkingSets(band=l2 // 2, panel=l1 * 3 // 4, plane=l1 // 2, block=l2 // 4, tiles=l2)
