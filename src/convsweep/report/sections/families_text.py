"""Own kernels against torch and the engines, in sentences and rows: only what the numbers carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.families.candidates import (
    ALGORITHMS,
    ENGINES,
    KERNELS,
    PLAIN,
    SEPARABLE_ENGINES,
    SEPARABLE_KERNELS,
    SEPARABLES,
    TORCH,
    Candidates,
)
from convsweep.analysis.families.comparison import (
    SEPARABLE_BLOCKS,
    ComparisonGroup,
    PairwiseComparison,
)
from convsweep.analysis.families.network_totals import NetworkComparison
from convsweep.report.tables import Table, by_setting

_ROLES: Mapping[str, str] = {
    KERNELS: "the best own kernel",
    ALGORITHMS: "the best algorithm in torch's operations",
    SEPARABLE_KERNELS: "the best own separable kernel",
}


_WHERE: Mapping[str, str] = {
    "3x3, stride 1": "3x3 layers of stride 1",
    "1x1": "1x1 layers",
    "depthwise": "Depthwise layers",
    "others": "Other layers",
    SEPARABLE_BLOCKS: "Separable blocks",
}


def opponent(field: Candidates, role: str) -> str:
    """Who is meant by a role, as one is spoken of."""
    return {
        PLAIN: field.base,
        TORCH: f"{field.baseline} in its better format",
        ENGINES: "the best engine",
        SEPARABLES: "torch's two calls",
        SEPARABLE_ENGINES: "the best engine's two",
    }[role]


def engines(field: Candidates) -> str:
    """Who takes part as an engine, torch among them; empty where torch is alone."""
    if not _has_engines(field, ENGINES):
        return ""
    names = sorted(set(field.part(field.has_role(ENGINES)).cases["backend"]))
    return f"The engines are {formatting.join(names)}."


def _has_engines(field: Candidates, role: str) -> bool:
    """Whether a role has any besides torch, which is held against by itself too."""
    part = field.part(field.has_role(role)).cases
    return bool((part["backend_family"] == ENGINES).any())


def sentences(
    field: Candidates, found: Sequence[ComparisonGroup], networks: Sequence[NetworkComparison]
) -> list[str]:
    """What there is to say of one setting: kinds of layers first, then whole networks."""
    every = [_of_match(field, match) for match in found if not match.workload]
    return [*every, *(_of_network(field, whole) for whole in networks)]


def _of_match(field: Candidates, match: ComparisonGroup) -> str:
    comparisons = _worth_telling(field, match)
    first = comparisons[0]
    told = [_pace(one.speedup, opponent(field, one.opponent)) for one in comparisons]
    unsure = np.isnan(first.speedup.low)
    return (
        f"{_WHERE.get(match.kind, match.kind)}: {_ROLES[first.role]} of each is "
        f"{formatting.join(told)}, in the geometric mean of {formatting.count(first.layers, 'layer')}"
        f"{' (too few passes for an interval)' if unsure else ''}{_short_of(comparisons)}; "
        f"{_all_won(field, comparisons)}. {_error(field, first)}"
    )


def _pace(speedup: Interval, than: str) -> str:
    """`2.01 [1.95, 2.08] times as fast as ncnn`; told where nobody knows who is the faster one."""
    said = f"{formatting.interval(*speedup)} times as fast as {than}"
    open_ = speedup.low <= 1 <= speedup.high
    return f"{said} (faster or slower, nobody can tell)" if open_ else said


def _worth_telling(field: Candidates, match: ComparisonGroup) -> list[PairwiseComparison]:
    """All duels, but that against the engines where there is none besides torch."""
    return [
        one
        for name, one in match.comparisons.items()
        if name not in (ENGINES, SEPARABLE_ENGINES) or _has_engines(field, name)
    ]


def _short_of(comparisons: Sequence[PairwiseComparison]) -> str:
    """Where the opponents do not have a time of all those layers."""
    fewer = {one.layers for one in comparisons[1:]} - {comparisons[0].layers}
    return (
        f" ({formatting.join([str(n) for n in sorted(fewer)])} of them with each of the others)"
        * bool(fewer)
    )


def _all_won(field: Candidates, comparisons: Sequence[PairwiseComparison]) -> str:
    """`against ncnn it is the faster one on 2 of 4, ...`, once for all of whom that is true."""
    against: dict[str, list[str]] = {}
    for one in comparisons:
        against.setdefault(_won(one), []).append(opponent(field, one.opponent))
    if len(against) == 1:
        return f"it {next(iter(against))}"
    return "; ".join(f"against {formatting.join(names)} it {won}" for won, names in against.items())


def _won(compare_backends: PairwiseComparison) -> str:
    """On how many layers it is faster, and how surely."""
    if compare_backends.decided == compare_backends.layers:
        return f"surely is the faster one{' on each' if compare_backends.layers > 1 else ''}"
    lost = f", surely the slower one on {compare_backends.lost}" if compare_backends.lost else ""
    return f"is the faster one on {compare_backends.won} of {compare_backends.layers}, surely so on {compare_backends.decided}{lost}"


def _error(field: Candidates, compare_backends: PairwiseComparison) -> str:
    """The digits that it costs."""
    if np.isnan([compare_backends.error, compare_backends.opponent_error]).any():
        return "Its error is not known."
    return (
        f"Its largest error is {compare_backends.error:.1e} of the largest output, "
        f"that of {opponent(field, compare_backends.opponent)} {compare_backends.opponent_error:.1e}."
    )


def _of_network(field: Candidates, whole: NetworkComparison) -> str:
    if whole.on_torch == whole.layers:
        return (
            f"{whole.workload}: on none of its {whole.layers} layers is an own kernel faster than "
            f"{field.baseline} in its better format."
        )
    stay = (
        f", {whole.on_torch} of {whole.layers} layers staying on {field.baseline},"
        if whole.on_torch
        else ""
    )
    engines = (
        f" and {_pace(whole.over_engines, 'on the best engine of each layer')}"
        if _has_engines(field, ENGINES)
        else ""
    )
    return (
        f"{whole.workload}, its layers added up, on the best own kernel of each{stay} is "
        f"{_pace(whole.over_torch, f'on {field.base}')} "
        f"({formatting.time(*whole.own.time)} against {formatting.time(*whole.torch.time)}){engines}."
    )


def matches_table(found: Mapping[str, tuple[Candidates, Sequence[ComparisonGroup]]]) -> Table:
    """A row a setting, network, kind of layer, role and opponent."""
    heads = ("setting", "layers of", "kind", "who", "against", "layers", "times as fast [95 %]",
             "faster on", "surely", "surely slower", "largest error", "theirs")  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for setting, (field, compare_families) in found.items():
        for match in compare_families:
            picked = formatting.join([f"{name} {n}" for name, n in match.backends.items()])
            rows += [
                (
                    setting,
                    match.workload or "all",
                    match.kind,
                    f"{_ROLES[one.role].removeprefix('the ')} ({picked})",
                    opponent(field, one.opponent),
                    str(one.layers),
                    formatting.interval(*one.speedup),
                    str(one.won),
                    str(one.decided),
                    str(one.lost),
                    _brief_error(one.error),
                    _brief_error(one.opponent_error),
                )
                for one in _worth_telling(field, match)
            ]
    return by_setting(heads, rows, set(heads[5:]))


def _brief_error(error: float) -> str:
    return formatting.NOT_MEASURED if np.isnan(error) else f"{error:.1e}"


def networks_table(found: Mapping[str, tuple[Candidates, Sequence[NetworkComparison]]]) -> Table:
    """A row a setting and network: its three sums, and what own kernels gain."""
    heads = ("setting", "network", "layers", "of them on torch", "best own kernel of each [95 %]",
             "torch [95 %]", "best engine of each [95 %]", "over torch [95 %]",
             "over the engines [95 %]")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            setting,
            whole.workload,
            str(whole.layers),
            str(whole.on_torch),
            *(formatting.time(*one.time) for one in (whole.own, whole.torch, whole.engines)),
            formatting.interval(*whole.over_torch),
            formatting.interval(*whole.over_engines) if _has_engines(field, ENGINES) else "",
        )
        for setting, (field, compare_networks) in found.items()
        for whole in compare_networks
    ]
    return by_setting(heads, rows, set(heads[2:]))
