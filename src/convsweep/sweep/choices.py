"""Checks of the words in a request, and the hardware that they are checked against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from convsweep.backends.base import BASIC, FAMILIES, Backend
from convsweep.problems.case import BLOCKS, CONV
from convsweep.problems.separable import is_replaceable, not_separable_reason
from convsweep.problems.workloads import Layer
from convsweep.results.schema import BASELINE
from convsweep.system.devices import Device


@dataclass(frozen=True)
class NodeDevice:
    """Device of a cluster node."""

    description: str
    cache_bytes: int


DeviceInfo = Device | NodeDevice


@dataclass(frozen=True)
class Hardware:
    """Cores and devices of a machine."""

    cores: int
    find_device: Callable[[str], DeviceInfo]  # raises `ValueError` for an unknown device


def choose_one(what: str, value: str, allowed: Sequence[str] | Mapping[str, object]) -> str:
    """Return the value; raise `ValueError` with the allowed ones if it is unknown."""
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; there is {', '.join(allowed)}")
    return value


def choose_each(
    what: str, values: Sequence[str], allowed: Sequence[str] | Mapping[str, object]
) -> tuple[str, ...]:
    """Return the different values; raise `ValueError` if one is unknown."""
    return tuple(dict.fromkeys(choose_one(what, value, allowed) for value in values))


def choose_backends(words: Sequence[str], known: Mapping[str, Backend]) -> tuple[str, ...]:
    """Return the backends of these names and families; without words, those run by default."""
    alike = {name: backend for name, backend in known.items() if not backend.only_by_name}
    members = {word: [n for n, b in alike.items() if b.family == word] for word in FAMILIES}
    if not words:
        return tuple(name for name in members[BASIC] if known[name].by_default)
    members["all"] = list(alike)
    choose_each("backend", words, [*known, *FAMILIES, "all"])
    return tuple(dict.fromkeys(name for word in words for name in members.get(word, [word])))


def choose_blocks(
    words: Sequence[str], backends: Sequence[Backend], layers: Sequence[Layer]
) -> tuple[str, ...]:
    """Return the blocks; raise `ValueError` if all are separable and no problem has such a form."""
    blocks = choose_each("block", words or (CONV,), BLOCKS)
    can_run = not all(backend.needs_factors for backend in backends)
    if can_run or blocks == (CONV,) or any(is_replaceable(one.problem) for one in layers):
        return blocks
    first = layers[0].problem
    reason = f"{first.label} has no separable form: it {not_separable_reason(first)}"
    raise ValueError(f"--block {blocks[-1]!r} on separable backends alone: {reason}")


def choose_baseline(word: str | None, names: Sequence[str], known: Mapping[str, Backend]) -> str:
    """Return the backend of this name, by default `BASELINE`; none that is quantised."""
    exact = [name for name in names if not known[name].quantized]
    if not exact:
        raise ValueError(f"--backend {names[0]} is compared with float32: add --backend {BASELINE}")
    usual = BASELINE if BASELINE in exact else exact[0]
    return choose_one("baseline", usual if word is None else word, exact)


def check_threads(values: Sequence[int], cores: int) -> tuple[int, ...]:
    """Return the different thread counts; raise `ValueError` beyond the cores."""
    for value in values:
        if not 1 <= value <= cores:
            raise ValueError(
                f"--threads {value} is not a whole number from 1 to {cores}, the cores"
            )
    return tuple(dict.fromkeys(values)) or (1,)
