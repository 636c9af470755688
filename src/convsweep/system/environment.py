"""Description of the machine, its software versions, and warnings about noise."""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil

from convsweep import __version__
from convsweep.system.calibration import recorded
from convsweep.system.counters import Counters
from convsweep.system.processor import cpu_caches, instruction_set, read_file

_ACCELERATORS = "not read: NVML updates the energy every 20 to 100 ms, a block takes 10 ms"
_CHANGES_CODE = re.compile(
    "((ATEN|CUBLAS|CUDNN|DNNL|KMP|MKL|NUMBA_CPU|OMP|ONEDNN|OV_CPU|XLA)_.+"
    "|CONVSWEEP_LANES|NVIDIA_TF32_OVERRIDE|LD_PRELOAD)"
    "(?<!_NUM_THREADS)"
)
"""Environment variables by which libraries choose what they run."""
_PACKAGES = ("torch", "numpy", "pandas", "scipy", "matplotlib", "pytest-benchmark", "torchvulkan")


def usable_cores() -> int:
    """Return the number of physical cores that this process may use."""
    with suppress(AttributeError):  # only on Linux
        allowed = len(os.sched_getaffinity(0))
        return min(allowed, psutil.cpu_count(logical=False) or allowed)
    return psutil.cpu_count(logical=False) or 1


def core_clock_hz() -> float | None:
    """Return the clock rate of the current core, or None if the kernel does not report it."""
    if not Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():
        return None
    stat = read_file("/proc/self/stat")
    core = stat.rpartition(")")[2].split()[36] if stat else "0"
    khz = read_file(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")
    return float(khz) * 1e3 if khz else None


def describe(device_descriptions: Mapping[str, str]) -> dict[str, Any]:
    """Return machine, versions, devices and warnings for environment.json."""
    machine = {
        "cpu": device_descriptions.get("cpu", platform.machine()),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "cores_usable": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "governor": read_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "hypervisor": _hypervisor(),
    }
    versions = {"python": platform.python_version(), "convsweep": __version__}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    stable = {"machine": machine, "versions": versions, "devices": dict(device_descriptions)}
    if variables := {k: v for k, v in sorted(os.environ.items()) if _CHANGES_CODE.fullmatch(k)}:
        stable["variables"] = variables
    with closing(Counters()) as counters:
        readable = {**counters.status, "accelerators": _ACCELERATORS}
    digest = hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()
    return {
        "environment_id": digest[:12],
        **stable,
        "processor": {"instruction_set": instruction_set(), **cpu_caches(), **recorded()},
        "counters": readable,
        "commit": _commit(),
        "warnings": environment_warnings(),
    }


def environment_warnings() -> list[str]:
    """Return one sentence per property of the machine, at this time, that makes timings noisy."""
    found = []
    governor = read_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor not in (None, "performance"):
        found.append(f"The clock governor is {governor!r}; set it to 'performance'.")
    if governor is None:
        found.append("The clock speed cannot be read or fixed here.")
    if _hypervisor():
        found.append("A virtual machine: other guests share its cores and caches.")
    load, cores = psutil.getloadavg()[0], usable_cores()
    if load > 0.5:
        found.append(f"Other work is running: load {load:.1f} on {cores} cores.")
    if cores <= 2:
        found.append(f"Only {cores} cores: the system's own work runs on the timed ones.")
    return found


def _hypervisor() -> bool:
    return " hypervisor" in (read_file("/proc/cpuinfo") or "")


def _commit() -> str | None:
    """Return the commit of the package's source, with `-dirty` if edited, or None outside git."""
    source = str(files("convsweep"))

    def git(*words: str) -> str:
        # No locks: git that is killed with this process would leave one behind.
        command = ["git", "--no-optional-locks", "-C", source, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        dirty = "-dirty" if git("status", "--porcelain", "--", source) else ""
        return git("rev-parse", "--short=12", "HEAD") + dirty
    except (OSError, subprocess.SubprocessError):
        return None
