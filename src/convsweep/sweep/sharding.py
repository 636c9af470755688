"""Groups of cases, their siblings in other settings, batches measured together, shards."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from convsweep.backends.base import Backend
from convsweep.formatting import count
from convsweep.measure.settings import Settings
from convsweep.problems.case import ITEMSIZE, Case
from convsweep.results.schema import CASE
from convsweep.sweep.forecast import (
    case_s,
    first_compile_s,
    pass_count,
    references_s,
    skipped_cases,
)

MAX_SHARDS = 10_000
_BATCH_GROUPS, _BATCH_BYTES = 16, 2**28

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `of` parts of a sweep."""

    index: int  # From 1
    of: int

    def __str__(self) -> str:
        """Return the text of the command line, such as `2/3`."""
        return f"{self.index}/{self.of}"


def parse_shard(text: str) -> Shard:
    """Return the shard of a text such as `2/3`; raise `ValueError` for any other."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found:
        index, of = int(found[1]), int(found[2])
        if 1 <= index <= of <= MAX_SHARDS:
            return Shard(index, of)
        if of > MAX_SHARDS:
            raise ValueError(f"--shard {text} exceeds {MAX_SHARDS} shards")
    shown = text if text.isprintable() and text and len(text) < 40 else repr(text[:40])
    raise ValueError(f"--shard {shown} is not k/n with 1 <= k <= n, such as 2/3")


def deal(costs_s: Sequence[float], shards: int) -> list[int]:
    """Return the shard of each cost, from 0. The largest costs go first, to the least load.

    No load exceeds an even share by more than the largest cost (Graham 1969, Bounds on
    multiprocessing timing anomalies). With equal loads, the shard with the fewest costs is next.
    """
    loads, counts, dealt = [0.0] * shards, [0] * shards, [0] * len(costs_s)
    for place in sorted(range(len(costs_s)), key=lambda place: -costs_s[place]):
        least = min(range(shards), key=lambda shard: (loads[shard], counts[shard]))
        loads[least] += costs_s[place]
        counts[least] += 1
        dealt[place] = least
    return dealt


def group_cases(cases: Iterable[Case]) -> list[list[Case]]:
    """Return the cases in groups of one problem and setting, whose backends are compared."""
    return _grouped(cases, lambda case: case.group)


def group_siblings(
    groups: Iterable[Sequence[Case]], *, of_one_problem: bool = False
) -> list[list[Sequence[Case]]]:
    """Return the groups of one layer together: they differ in setting and, by default, batch."""
    return _grouped(groups, lambda own: (own[0].siblings, of_one_problem and own[0].problem))


def _grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    found: dict[Hashable, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.values())


def is_auxiliary(group: Sequence[Case]) -> bool:
    """Return whether these are roofline probes or separable parts."""
    return bool(group) and group[0].layer.role != CASE


def batches(families: Sequence[list[Sequence[Case]]], *, alone: bool) -> Iterator[list[Case]]:
    """Yield the cases that are measured together: families of siblings, or each one `alone`.

    Siblings are in one batch unless they do not fit into memory.
    """
    batch: list[Case] = []
    count, left = 0, _BATCH_BYTES
    for siblings in families:
        needed = [
            (len(group) + 1) * group[0].problem.min_bytes(ITEMSIZE[group[0].dtype])
            for group in siblings
        ]
        fits = count + len(siblings) <= _BATCH_GROUPS and sum(needed) <= left
        is_full = alone or not fits or is_auxiliary(batch) != is_auxiliary(siblings[0])
        for group, own in zip(siblings, needed, strict=True):
            if batch and (is_full or own > left):
                yield batch
                batch, count, left = [], 0, _BATCH_BYTES
            batch, count, left, is_full = [*batch, *group], count + 1, left - own, False
    if batch:
        yield batch


def group_costs_s(
    cases: Sequence[Case], backends: Mapping[str, Backend], settings: Settings, passes: int
) -> dict[Hashable, float]:
    """Return seconds per family of siblings, on every machine: uninstalled backends count."""
    installed = {name: replace(backend, modules=()) for name, backend in backends.items()}
    costs_s: dict[Hashable, float] = {}
    for own in _grouped(cases, lambda case: case.siblings):
        skipped = skipped_cases(own, installed)
        timed = [case for case in own if case not in skipped]
        seconds = (pass_count(case, passes) * case_s(case, installed, settings) for case in timed)
        compile_s = sum(first_compile_s(installed[case.backend]) for case in timed)
        costs_s[own[0].siblings] = references_s(own) + compile_s + sum(seconds)
    return costs_s


def shares(
    cases: Sequence[Case], costs_s: Mapping[Hashable, float], shard: Shard
) -> list[list[Case]]:
    """Return the cases of the shards up to `shard`, in order; siblings are in one shard.

    `cases` are those of the whole sweep, `costs_s` the result of `group_costs_s`.

    Raises:
        ValueError: there are fewer families of siblings than shards.
    """
    if shard.of > len(costs_s):
        layers = count(len(costs_s), "problem")
        raise ValueError(
            f"--shard {shard} leaves shards empty: there are {layers}, each in one shard with all "
            "its settings and batch sizes"
        )
    place = dict(zip(costs_s, deal([*costs_s.values()], shard.of), strict=True))
    dealt: list[list[Case]] = [[] for _ in range(shard.of)]
    for case in cases:
        dealt[place[case.siblings]].append(case)
    return dealt[: shard.index]
