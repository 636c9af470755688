"""Whether a separable layer is worth it, in sentences: where it pays, by how much, where not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, compare_separable
from convsweep.analysis.separable.regions import FASTER, find_region, rank, steps
from convsweep.problems.problem import format_size
from convsweep.problems.separable import SEPARABLE

MOST_GROUPS = 4  # that sentences of their own are for
_MOST_NAMES = 3


def verdict(run: Run, *, alone: bool) -> list[str]:
    """The answer for one setting, the verdict first; empty where nothing was replaced.

    Args:
        run: what was measured in one setting.
        alone: whether it is the only setting, so that it needs no name.
    """
    found = compare_separable(run)
    if not found.replacements:
        return []
    told = _Setting.of(run, alone=alone)
    ranks = sorted({*map(rank, found.replacements)})
    said = [
        sentence
        for of_rank in ranks
        for group in groups([r for r in found.replacements if rank(r) == of_rank])
        for sentence in _sentences(told.scope(group, ranks), group, run.baseline)
    ]
    if all(math.isnan(r.speedup.low) for r in found.replacements):
        said.append("One pass gives no interval and decides nothing: run at least three.")
    return said


_BY: tuple[Callable[[Replacement], tuple[object, ...]], ...] = (
    lambda r: (r.workload, r.problem.batch_size, r.problem.kernel_size),
    lambda r: (r.workload, r.problem.kernel_size),
    lambda r: (r.workload, r.problem.batch_size),
    lambda r: (r.workload,),
)
"""How problems are grouped, the finest first."""


def groups(replacements: Sequence[Replacement]) -> list[list[Replacement]]:
    """Problems of one rank as sentences take them: all, or each network, kernel and batch alone.

    All where they are alike: everything pays, nothing does, or what pays ends at one place.
    """
    region = find_region(replacements)
    pays = [r.verdict == FASTER for r in replacements]
    alike = len(set(pays)) == 1 or (region is not None and sum(pays) == len(region.inside))
    if alike and len({r.workload for r in replacements}) == 1:
        return [[*replacements]]
    for key_of in _BY:
        parts: dict[tuple[object, ...], list[Replacement]] = {}
        for r in replacements:
            parts.setdefault(key_of(r), []).append(r)
        if 1 < len(parts) <= MOST_GROUPS:
            return [*parts.values()]
    return [[*replacements]]


@dataclass(frozen=True)
class _Setting:
    """How to speak of where a group was measured."""

    machine: str
    threads: str

    @classmethod
    def of(cls, run: Run, *, alone: bool) -> _Setting:
        """What a run's one setting is called."""
        first = run.cases.iloc[0]
        if not alone:
            machine = f"On {first['setting']}"
        elif first["device"] == "cpu":
            machine = "On this machine"
        else:
            machine = f"On this machine's {first['device']}"
        count = int(first["threads"])
        named = "thread" in machine or first["device"] != "cpu"
        threads = "one thread" if count == 1 else f"{count} threads"
        return cls(machine, "" if named else threads)

    def scope(self, group: Sequence[Replacement], ranks: Sequence[int]) -> str:
        """`On this machine, in 2-D, at batch 1, kernel 3 and one thread,`: a rank of several."""
        batches = {r.problem.batch_size for r in group}
        kernels = {formatting.compact(format_size(r.problem.kernel_size)) for r in group}
        workloads = {r.workload for r in group}
        of_rank = f"in {rank(group[0])}-D" if len(ranks) > 1 else ""
        parts = [f"batch {batches.pop()}"] if len(batches) == 1 else []
        parts += [f"kernel {kernels.pop()}"] if len(kernels) == 1 else []
        at = formatting.join([*parts, *filter(None, [self.threads])])
        network = workloads.pop() if len(workloads) == 1 else None
        return ", ".join(
            filter(None, (self.machine, network and f"in {network}", of_rank, at and f"at {at}"))
        )


def _sentences(scope: str, group: Sequence[Replacement], baseline: str) -> list[str]:
    """Where it pays and by how much; then what is beyond."""
    wins = [r for r in group if r.verdict == FASTER]
    promise = f"where MACs promise {_promised(wins or group)}"
    by = f"{_range(wins or group)} times as fast as {baseline} {promise}"
    if len(group) == 1:
        return [f"{scope}, {SEPARABLE} {_PAYS[group[0].verdict]} at {group[0].label}: {by}."]
    if len(wins) == len(group):
        return [f"{scope}, {SEPARABLE} pays in all {len(group)} problems: {by}."]
    if not wins:
        return [f"{scope}, {_nothing_pays(group)}: {by}."]
    region = find_region(group)
    if region is None:
        others = [r for r in group if r.verdict != FASTER]
        pays = f"pays in {len(wins)} of {len(group)} problems"
        return [f"{scope}, {SEPARABLE} {pays}: {by}.", f"Elsewhere it {_others(others)}."]
    inside = [group[i] for i in region.inside]
    by = f"{_range(inside)} times as fast as {baseline} where MACs promise {_promised(inside)}"
    return [
        f"{scope}, {SEPARABLE} pays {region.where}: {by}.",
        _beyond(region.beyond, [group[i] for i in region.outside]),
    ]


_PAYS = {
    "faster": "pays",
    "slower": "does not pay",
    "same": "makes no difference",
    "undecided": "is undecided",
}


def _nothing_pays(group: Sequence[Replacement]) -> str:
    counts = Counter(r.verdict for r in group)
    if counts["undecided"] == len(group):
        return f"whether {SEPARABLE} pays is undecided in all {len(group)} problems"
    if counts["undecided"]:
        return f"{SEPARABLE} pays nowhere that is decided: it {_others(group)}"
    return f"{SEPARABLE} never pays in {len(group)} problems"


def _beyond(where: str, group: Sequence[Replacement]) -> str:
    """What happens on the other side of the place from which it pays."""
    place = where[0].upper() + where[1:]
    wins = [r for r in group if r.verdict == FASTER]
    undecided = any(r.verdict == "undecided" for r in group)
    by = f"{_range(group)} times as fast"
    if wins:
        others = [r for r in group if r.verdict != FASTER]
        where = f" ({', '.join(at)})" if (at := steps(group)) else ""
        pays = f"pays in {len(wins)} of {len(group)} problems{where}"
        return f"{place} it {pays}, and {_others(others)}: {by}."
    if undecided:
        return f"{place} it {_others(group)}: {by}."
    return f"{place} it never pays: {by}."


def _others(group: Sequence[Replacement]) -> str:
    """`is slower in 3, the same in 1 and undecided at C8 7x7`: what is not faster."""
    said = []
    for word, name in (("slower", "slower"), ("same", "the same"), ("undecided", "undecided")):
        those = [r.label for r in group if r.verdict == word]
        few = word == "undecided" and len(those) <= _MOST_NAMES
        if those:
            said.append(f"{name} at {formatting.join(those)}" if few else f"{name} in {len(those)}")
    return f"is {formatting.join(said)}"


def _range(group: Sequence[Replacement]) -> str:
    """`4.80 [4.71, 4.89] to 8.10 [7.95, 8.26]`: the least and the most of the speedups."""
    by_speedup = sorted((r.speedup for r in group), key=lambda speedup: speedup.value)
    ends = dict.fromkeys(formatting.interval(*by_speedup[i]) for i in (0, -1))
    return " to ".join(ends)


def _promised(group: Sequence[Replacement]) -> str:
    mac_ratio = [r.mac_ratio for r in group]
    return formatting.times(min(mac_ratio), max(mac_ratio)).removesuffix(" times")
