"""Section on algorithms, own kernels and engines against torch."""

from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.families.candidates import Candidates, Role, read_candidates
from convsweep.analysis.families.comparison import (
    ComparisonGroup,
    NetworkComparison,
    PairwiseComparison,
    compare_families,
    compare_networks,
)
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots import best_backend_map, speed_vs_error
from convsweep.report.table import Table

TITLE = "Own kernels, algorithms and engines"
_MOST_NAMES = 3
_SELECTION = (
    "The fastest of several backends is selected, in each pass, by the other passes. With a single "
    "pass the result is optimistic."
)
_FORMATS = (
    "Each backend has its input in the memory format that suits it. Conversions between formats "
    "are in no layer's time."
)
_NOTHING_SHARED = "No own kernel and no algorithm shares a layer with the baseline."
_ROLES: Mapping[Role, str] = {
    Role.KERNELS: "best own kernel",
    Role.ALGORITHMS: "best algorithm in torch's operations",
    Role.SEPARABLE_KERNELS: "best own separable kernel",
}

Comparisons = Mapping[str, tuple[Candidates, Sequence[ComparisonGroup]]]
Networks = Mapping[str, tuple[Candidates, Sequence[NetworkComparison]]]


def section(run: Run) -> Section | None:
    """Return the section; None if all backends are of the family `basic`."""
    settings = read_candidates(run.for_means)
    if not any((each.cases["backend_family"] != Role.BASIC).any() for each in settings):
        return None
    comparisons = {each.name: (each, compare_families(each)) for each in settings}
    networks = {each.name: (each, compare_networks(each)) for each in read_candidates(run)}
    several_formats = run.cases["memory_format"].nunique() > 1
    first = settings[0]
    sentence = _sentence(*comparisons[first.name]) or _NOTHING_SHARED
    return Section.of_settings(
        TITLE,
        f"On {first.name}: {sentence}" if len(settings) > 1 else sentence,
        [
            ("Against torch and the engines", comparisons_table(comparisons)),
            ("Networks, as sums of their layers", networks_table(networks)),
        ],
        dict.fromkeys(comparisons, ())
        | {first.name: (speed_vs_error.draw(first), best_backend_map.draw(first))},
        _FORMATS if several_formats else _SELECTION,
    )


def _sentence(candidates: Candidates, groups: Sequence[ComparisonGroup]) -> str:
    """Return the range of speedups of the first role, by kind of layer; empty without groups."""
    pairs = [next(iter(group.comparisons.values())) for group in groups]
    own = [one for one in pairs if one.role == pairs[0].role]
    if not own:
        return ""
    values = [one.speedup.value for one in own]
    layers, won = (sum(getattr(one, name) for one in own) for name in ("layers", "decided"))
    return (
        f"The {_ROLES[own[0].role]} against {opponent_label(candidates, own[0].opponent)}: "
        f"{formatting.times(min(values), max(values))} by kind of layer, faster on {won} of "
        f"{layers} layers."
    )


def opponent_label(candidates: Candidates, role: Role) -> str:
    """Return the name of a role that others are compared with."""
    return {
        Role.PLAIN: candidates.baseline_label,
        Role.TORCH: f"{candidates.baseline} in its better format",
        Role.ENGINES: "best engine",
        Role.SEPARABLES: "torch's two calls",
        Role.SEPARABLE_ENGINES: "best engine's two calls",
    }[role]


def _has_engines(candidates: Candidates, role: Role) -> bool:
    """Whether a role has a backend besides torch."""
    return bool((candidates.select(role).cases["backend_family"] == Role.ENGINES).any())


def _reported(candidates: Candidates, group: ComparisonGroup) -> list[PairwiseComparison]:
    """Return all comparisons but that with the engines if torch is the only one."""
    return [
        each
        for name, each in group.comparisons.items()
        if name not in (Role.ENGINES, Role.SEPARABLE_ENGINES) or _has_engines(candidates, name)
    ]


def comparisons_table(comparisons: Comparisons) -> Table:
    """Return one row per setting, kind of layer, role and opponent."""
    heads = ("setting", "kind", "backend", "against", "layers", "speedup (95 %)", "faster",
             "slower", "largest error", "opponent's error")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            setting,
            group.kind,
            f"{_ROLES[each.role]} ({formatting.join([*group.backends][:_MOST_NAMES])})",
            opponent_label(candidates, each.opponent),
            str(each.layers),
            formatting.speedup(*each.speedup),
            str(each.decided),
            str(each.lost),
            formatting.error(each.error),
            formatting.error(each.opponent_error),
        )
        for setting, (candidates, groups) in comparisons.items()
        for group in groups
        for each in _reported(candidates, group)
    ]
    return Table.by_setting(heads, rows, heads[4:])


def networks_table(networks: Networks) -> Table:
    """Return one row per setting and network: its sums, and the speedups of own kernels."""
    heads = ("setting", "network", "layers", "of them on torch", "best own kernels (95 %)",
             "torch (95 %)", "best engines (95 %)", "over torch (95 %)",
             "over the engines (95 %)")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (setting, each.workload, str(each.layers), str(each.on_torch),
         *(formatting.time(*one.time) for one in (each.own, each.torch, each.engines)),
         formatting.speedup(*each.over_torch),
         formatting.speedup(*each.over_engines) if _has_engines(candidates, Role.ENGINES) else "")
        for setting, (candidates, found) in networks.items()
        for each in found
    ]  # fmt: skip
    return Table.by_setting(heads, rows, heads[2:])
