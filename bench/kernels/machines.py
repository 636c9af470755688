"""A machine whose choices are computed, not measured."""

from __future__ import annotations

from convsweep.system.calibration import Machine

AVX512 = Machine(
    l1_bytes=48 * 2**10,
    l2_bytes=2**20,
    last_cache_bytes=2**25,
    macs_per_s=1e11,
    l2_bytes_per_s=1.5e11,
    last_cache_bytes_per_s=4e10,
    memory_bytes_per_s=1.4e10,
    copy_bytes_per_s=8e9,
)
"""A server core with AVX-512: 48 KiB, 1 MiB and 32 MiB, with rates that such cores have."""
