"""Cache sizes and measured rates of one core, by which own kernels choose tiles and bands.

Rates are measured once per machine and version, in about a second, and kept in a file: all
processes and sessions make the same choices.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from convsweep import __version__
from convsweep.system.private_folder import private_folder
from convsweep.system.processor import cpu_caches, cpu_name, instruction_set

_FORMAT = 2
_ROUNDS, _TURN_S = 30, 0.005  # per rate and round
_PART_FLOATS = 2**19
_LOCK_S = 30.0
_LEAST_BYTES, _MOST_BYTES = 2**26, 2**28  # of the tensor that no cache contains


@dataclass(frozen=True)
class Machine:
    """Caches and rates of one thread. The defaults are those of a server core with AVX2."""

    l1_bytes: int = 2**15
    l2_bytes: int = 2**19
    last_cache_bytes: int = 2**24
    """Part of the last cache that tensors of one call can stay in. The threads of a call share
    their weights; other cores and guests share the cache."""
    macs_per_s: float = 4.57e10  # Multiply-accumulates of a matrix product in the L2 cache, float32
    l2_bytes_per_s: float = 7.7e10  # Bytes read in two streams, as the following rates
    last_cache_bytes_per_s: float = 6.3e10
    memory_bytes_per_s: float = 2e10
    copy_bytes_per_s: float = 8.5e9  # Bytes copied in memory; each is read and written
    measured_at: str = ""  # Time in UTC; empty if the rates are the defaults


_RATES = tuple(field.name for field in fields(Machine) if field.name.endswith("_per_s"))


@cache
def machine() -> Machine:
    """Return this machine, measured now if no process has done so before.

    If nothing can be kept, the rates are the defaults, so that all processes have the same.
    """
    try:
        path = _path()
        return _kept(path) or _measured_once(path)
    except (OSError, RuntimeError, MemoryError):
        return _unmeasured()


def recorded() -> dict[str, Any]:
    """Return the entry `calibration` of environment.json; nothing if nothing is measured yet."""
    try:
        found = _kept(_path())
    except OSError:
        found = None
    return {"calibration": asdict(found)} if found else {}


def _unmeasured() -> Machine:
    """Return the caches with default rates; a level that the kernel does not report, too."""
    found = cpu_caches()
    if not found:
        return Machine()
    l1 = found.get("l1_bytes") or Machine.l1_bytes
    l2 = found.get("l2_bytes") or Machine.l2_bytes
    return Machine(l1, l2, last_cache_bytes=max(l2, max(found.values()) // 2))


def _key() -> dict[str, Any]:
    """Return what the rates depend on."""
    versions = {"format": _FORMAT, "torch": version("torch"), "convsweep": __version__}
    return {"cpu": cpu_name(), "vectors": instruction_set(), **cpu_caches(), **versions}


def _path() -> Path:
    digest = hashlib.sha256(json.dumps(_key(), sort_keys=True).encode()).hexdigest()
    return private_folder() / f"calibration-{digest[:12]}.json"


def _kept(path: Path) -> Machine | None:
    """Return the machine of a file; None if there is none, or it is broken or another's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rates: dict[str, Any] = {name: float(content[name]) for name in _RATES}
        if content["key"] == _key() and all(0 < rate < math.inf for rate in rates.values()):
            return replace(_unmeasured(), **rates, measured_at=str(content["measured_at"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError, OverflowError):
        pass
    return None


def _measured_once(path: Path) -> Machine:
    """Measure and write the file, unless another process does so at the same time."""
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=_LOCK_S):
        if found := _kept(path):
            return found
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"key": _key(), "measured_at": now, **_measured_rates(_unmeasured())}
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")
        new.replace(path)
        return _kept(path) or _unmeasured()


def _measured_rates(sizes: Machine) -> dict[str, float]:
    """Return the rates of one thread.

    Work is divided into parts of a fraction of a millisecond, in many rounds. Each part counts with
    its fastest call, since disturbances only add time.
    """
    import torch

    most = 3 * max([sizes.last_cache_bytes, *cpu_caches().values()])
    floats = min(max(most, _LEAST_BYTES), _MOST_BYTES) // 4
    data = torch.ones(floats, dtype=torch.float32, device="cpu")
    side = math.isqrt(sizes.l2_bytes // 24) // 16 * 16  # three matrices fill half of the cache
    a, b, c = (data[i * side**2 :][: side**2].view(side, side) for i in range(3))
    near, last = sizes.l2_bytes // 2, max(sizes.last_cache_bytes // 2, sizes.l2_bytes)

    def reads(size: int) -> list[Callable[[], object]]:
        return [
            partial(torch.dot, *x.chunk(2)) for x in torch.split(data[: size // 4], _PART_FLOATS)
        ]

    targets, sources = (torch.split(half, _PART_FLOATS) for half in data.chunk(2))
    work: dict[str, tuple[int, list[Callable[[], object]]]] = {
        "macs_per_s": (side**3, [partial(torch.mm, a, b, out=c)]),
        "l2_bytes_per_s": (near, reads(near)),
        "last_cache_bytes_per_s": (last, reads(last)),
        "memory_bytes_per_s": (4 * floats, reads(4 * floats)),
        "copy_bytes_per_s": (
            2 * floats,
            [partial(x.copy_, y) for x, y in zip(targets, sources, strict=True)],
        ),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work["call"] = (0, [partial(torch.dot, data[:1], data[:1])])
        fastest = {name: [math.inf] * len(calls) for name, (_, calls) in work.items()}
        for _ in range(_ROUNDS):
            for name, (_, calls) in work.items():
                end = perf_counter() + _TURN_S
                while math.inf in fastest[name] or perf_counter() < end:
                    times = zip(fastest[name], map(_seconds, calls), strict=True)
                    fastest[name] = [min(pair) for pair in times]
    finally:
        torch.set_num_threads(threads)
    [call_s] = fastest["call"]
    return {
        name: float(f"{work[name][0] / sum(s - call_s for s in fastest[name]):.3g}")
        for name in _RATES
    }


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
