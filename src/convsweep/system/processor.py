"""The processor: its name, instruction set and caches."""

import platform
from functools import cache
from pathlib import Path

_INSTRUCTION_SETS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "NEON"}


@cache
def cpu_name() -> str:
    """Return the processor's product name, or its architecture if unknown."""
    lines = (read_file("/proc/cpuinfo") or "").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, "") or platform.processor() or platform.machine()


def instruction_set() -> str | None:
    """Return the widest vector instructions, or None if the kernel does not list them."""
    flags = set((read_file("/proc/cpuinfo") or "").split())
    return next((name for flag, name in _INSTRUCTION_SETS.items() if flag in flags), None)


@cache
def cpu_caches() -> dict[str, int]:
    """Return the bytes of the caches of a core that hold data: `l1_bytes` and so on."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = (read_file(str(index / name)) for name in ("type", "level", "size"))
        if kind in ("Data", "Unified") and size and size.endswith("K"):
            found[f"l{level}_bytes"] = 1024 * int(size[:-1])
    return found


def read_file(path: str) -> str | None:
    """Return the text of a file of the kernel, or None if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
