"""The evidence in words: how many claims hold, what each one measured, where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from convsweep import formatting
from convsweep.analysis.claims.evidence import (
    FAILS,
    HOLDS,
    HOLDS_IN_PART,
    UNDECIDED,
    VERDICTS,
    ClaimResult,
    PairResult,
)
from convsweep.analysis.claims.pairs import Pair
from convsweep.formatting import NOT_MEASURED
from convsweep.problems.problem import ConvProblem, Size, format_size

_MOST_NAMES = 3
_ENOUGH_PAIRS = 2  # that hold, and that fail, for a rule to be more than the name of one

_COUNTED = {
    HOLDS: ("holds", "hold"),
    HOLDS_IN_PART: ("holds in part", "hold in part"),
    FAILS: ("does not hold", "do not hold"),
    UNDECIDED: ("is undecided", "are undecided"),
    NOT_MEASURED: ("was not measured", "were not measured"),
}

_Feature = tuple[Callable[[ConvProblem], int], Callable[[ConvProblem], str]]
"""A number, and the words for it."""

_FEATURES: tuple[_Feature, ...] = (
    (lambda p: math.prod(p.input_size), lambda p: format_size(p.input_size)),
    (
        lambda p: min(p.in_channels, p.out_channels),
        lambda p: formatting.count(min(p.in_channels, p.out_channels), "channel"),
    ),
    (lambda p: math.prod(p.kernel_size), lambda p: f"kernel {_side(p.kernel_size)}"),
)
_WORK: _Feature = (lambda p: p.macs, lambda p: f"{formatting.digits(p.macs / 1e6)} million MACs")


def tally(weighed: Sequence[ClaimResult]) -> str:
    """`Of 11 claims about cost, 3 hold, 6 hold in part and 2 do not hold`."""
    found = [each.verdict for each in weighed]
    counted = [
        f"{found.count(verdict)} {_COUNTED[verdict][found.count(verdict) > 1]}"
        for verdict in VERDICTS
        if verdict in found
    ]
    return f"Of {formatting.count(len(weighed), 'claim')} about cost, {formatting.join(counted)}"


def sentence(evidence: ClaimResult, baseline: str) -> str:
    """The verdict, what was measured, and where it does not hold."""
    times = formatting.interval(*evidence.mean)
    told = evidence.claim.told.format(times=times, baseline=baseline)
    said = f"{evidence.verdict.capitalize()}: “{evidence.claim.statement}”. {told[0].upper()}{told[1:]}"
    if len(evidence.pairs) > 1:
        low, *_, high = sorted(evidence.pairs, key=lambda each: each.over_claimed.value)
        names = dict(zip(map(id, evidence.pairs), named(evidence), strict=True))
        ends = [
            f"{formatting.interval(*end.over_claimed)} at {names[id(end)]}" for end in (low, high)
        ]
        said += f" (geometric mean of {len(evidence.pairs)} pairs, between {formatting.join(ends)})"
    where = whereabouts(evidence)
    return f"{said}. {where[0].upper()}{where[1:]}." if where else f"{said}."


def whereabouts(evidence: ClaimResult) -> str:
    """Where a claim holds, where not, and what is open; empty where all pairs agree."""
    held, failed, doubtful = map(evidence.with_verdict, (HOLDS, FAILS, UNDECIDED))
    if not evidence.pairs or len(evidence.pairs) in (len(held), len(failed)):
        return ""
    names = dict(zip(map(id, evidence.pairs), named(evidence), strict=True))
    of = f"{len(held) or len(failed)} of {len(evidence.pairs)} pairs"
    said = [f"it holds {_rule(held, failed, doubtful)}in {of}" if held else f"it fails in {of}"]
    if not held and not failed:
        return ""
    for word, some in (("not", failed if held else ()), ("open", doubtful)):
        if some:
            said.append(f"{word} at {_list([names[id(each)] for each in some])}")
    return "; ".join(said)


def _list(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return formatting.join([*names[:_MOST_NAMES], f"{more} more"] if more > 1 else names)


def _rule(
    held: Sequence[PairResult], failed: Sequence[PairResult], doubtful: Sequence[PairResult]
) -> str:
    """`from 28x28 on, ` or `up to 64 channels, `, where one number tells those that hold apart.

    On its side all pairs hold: neither one that fails nor one that is open lies there. Where two
    numbers tell them apart, these pairs can't tell which it is, and nothing is said; where neither
    size, channels nor kernel does, the work may.
    """
    if min(len(held), len(failed)) < _ENOUGH_PAIRS:
        return ""
    ours, theirs = (
        [each.pair.second.problem for each in some] for some in (held, [*failed, *doubtful])
    )
    rules = [_apart(ours, theirs, feature) for feature in _FEATURES]
    said = [*filter(None, rules)] or [_apart(ours, theirs, _WORK)]
    return said[0] if len(said) == 1 else ""


def _apart(ours: list[ConvProblem], theirs: list[ConvProblem], feature: _Feature) -> str:
    number, word = feature
    if max(map(number, theirs)) < min(map(number, ours)):
        return f"from {word(min(ours, key=number))} on, "
    if max(map(number, ours)) < min(map(number, theirs)):
        return f"up to {word(max(ours, key=number))}, "
    return ""


def named(evidence: ClaimResult) -> list[str]:
    """Each pair as `C64 28x28: k1 to k3`: what it shares, where pairs differ, and what changes."""
    pairs = [each.pair for each in evidence.pairs]
    parts = [_parts(timing.problem) for pair in pairs for timing in (pair.first, pair.second)]
    varied = {part for part in parts[0] if len({each[part] for each in parts}) > 1} if parts else ()
    return [_name(pair, {"channels", "size", *varied}) for pair in pairs]


def _name(pair: Pair, said: set[str]) -> str:
    first, second = _parts(pair.first.problem), _parts(pair.second.problem)
    changed = [part for part in first if first[part] != second[part] and part != "bias"]
    if "kernel" in changed and "padding" in changed:
        changed.remove("padding")  # it follows the kernel
    shared = [first[part] for part in first if first[part] == second[part] and part in said]
    if _keeps_the_size(pair.first.problem) and first["padding"] in shared:
        shared.remove(first["padding"])
    if not changed:
        return " ".join(filter(None, shared))
    steps = (" ".join(filter(None, (side[part] for part in changed))) for side in (first, second))
    return ": ".join(filter(None, (" ".join(filter(None, shared)), " to ".join(steps))))


def _parts(problem: ConvProblem) -> dict[str, str]:
    """The parts of a problem as tokens; what is usual says nothing."""
    same = problem.in_channels == problem.out_channels
    groups = "dw" if problem.is_depthwise else f"g{problem.groups}"
    return {
        "batch": _unless_one("N", (problem.batch_size,)),
        "channels": f"C{problem.in_channels}" + ("" if same else f"→{problem.out_channels}"),
        "size": format_size(problem.input_size),
        "kernel": f"k{_side(problem.kernel_size)}",
        "padding": f"p{_side(problem.padding)}",
        "stride": _unless_one("s", problem.stride),
        "dilation": _unless_one("d", problem.dilation),
        "groups": "" if problem.groups == 1 else groups,
        "bias": "bias" if problem.bias else "",
    }


def _keeps_the_size(problem: ConvProblem) -> bool:
    """Padding by half the kernel, which goes without saying."""
    sides = zip(problem.padding, problem.dilation, problem.kernel_size, strict=True)
    return all(2 * p == d * (k - 1) for p, d, k in sides)


def _side(size: Size) -> str:
    return str(size[0]) if len(set(size)) == 1 else format_size(size)


def _unless_one(letter: str, size: Size) -> str:
    return "" if set(size) == {1} else letter + _side(size)
