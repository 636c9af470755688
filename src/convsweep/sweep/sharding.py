"""Groups of cases that are compared, batches of groups measured together, shards of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

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
    """Return the cases in groups that are interleaved and compared."""
    groups: dict[Case, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    return list(groups.values())


def is_auxiliary(group: Sequence[Case]) -> bool:
    """Return whether these are roofline probes or separable parts."""
    return group[0].layer.role != CASE


def batches(groups: Sequence[list[Case]], *, together: bool) -> Iterator[list[Case]]:
    """Yield the cases of groups that fit into memory `together`; otherwise, group by group."""
    for _, own in groupby(groups, key=is_auxiliary):
        batch: list[Case] = []
        count, left = 0, _BATCH_BYTES
        for group in own:
            needed = (len(group) + 1) * group[0].problem.min_bytes(ITEMSIZE[group[0].dtype])
            if batch and (not together or count == _BATCH_GROUPS or needed > left):
                yield batch
                batch, count, left = [], 0, _BATCH_BYTES
            batch, count, left = batch + group, count + 1, left - needed
        yield batch


def group_costs_s(
    cases: Sequence[Case], backends: Mapping[str, Backend], settings: Settings, passes: int
) -> dict[Case, float]:
    """Return seconds per group of cases, the same on every machine: uninstalled backends count."""
    installed = {name: replace(backend, modules=()) for name, backend in backends.items()}
    costs_s: dict[Case, float] = {}
    for own in group_cases(cases):
        skipped = skipped_cases(own, installed)
        timed = [case for case in own if case not in skipped]
        seconds = (pass_count(case, passes) * case_s(case, installed, settings) for case in timed)
        compile_s = sum(first_compile_s(installed[case.backend]) for case in timed)
        costs_s[own[0].group] = references_s(own) + compile_s + sum(seconds)
    return costs_s


def shares(cases: Sequence[Case], costs_s: Mapping[Case, float], shard: Shard) -> list[list[Case]]:
    """Return the cases of the shards up to `shard`, in order; a group is in one shard.

    `cases` are those of the whole sweep, `costs_s` the seconds per group.

    Raises:
        ValueError: there are fewer groups than shards.
    """
    if shard.of > len(costs_s):
        groups = count(len(costs_s), "group")
        raise ValueError(f"--shard {shard} leaves shards empty: there are {groups} of cases")
    place = dict(zip(costs_s, deal([*costs_s.values()], shard.of), strict=True))
    dealt: list[list[Case]] = [[] for _ in range(shard.of)]
    for case in cases:
        dealt[place[case.group]].append(case)
    return dealt[: shard.index]
