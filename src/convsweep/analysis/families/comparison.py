"""The fastest backend of one family against others, per kind of layer and per network."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import Interval, equal_mean, estimate, interval
from convsweep.analysis.families.candidates import (
    LAYER_KINDS,
    BestPick,
    Candidates,
    Role,
    pick_by_layer,
)
from convsweep.analysis.network_totals import Sum, ratio, sum_layers
from convsweep.analysis.verdicts import verdicts

OPPONENTS = {
    Role.KERNELS: (Role.PLAIN, Role.TORCH, Role.ENGINES),
    Role.ALGORITHMS: (Role.PLAIN,),
    Role.SEPARABLE_KERNELS: (Role.SEPARABLES, Role.SEPARABLE_ENGINES),
}
"""Roles that each role is compared with."""
SEPARABLE_BLOCKS = "separable blocks"

_Picks = Mapping[str, BestPick]


class PairwiseComparison(NamedTuple):
    """One role against another, over the layers that both have a time on."""

    role: Role
    opponent: Role
    layers: int
    speedup: Interval  # geometric mean over the layers
    decided: int  # layers with the verdict `faster`, corrected for their number
    lost: int  # layers with the verdict `slower`
    error: float  # largest relative error of the picks on these layers; NaN if unknown
    opponent_error: float


class ComparisonGroup(NamedTuple):
    """All comparisons of one role on the same layers."""

    kind: str
    comparisons: Mapping[Role, PairwiseComparison]  # by opponent, the baseline first
    backends: Mapping[str, int]  # number of layers that each backend was picked on


def compare_families(candidates: Candidates) -> list[ComparisonGroup]:
    """Return the groups of dense layers kind by kind, then of separable blocks of all kinds."""
    groups = [
        _compare_role(candidates.where(candidates.cases["kind"] == kind), role, kind)
        for kind in LAYER_KINDS
        for role in (Role.KERNELS, Role.ALGORITHMS)
    ]
    groups.append(_compare_role(candidates, Role.SEPARABLE_KERNELS, SEPARABLE_BLOCKS))
    return [group for group in groups if group is not None]


def _compare_role(candidates: Candidates, role: Role, kind: str) -> ComparisonGroup | None:
    """Return all comparisons of one role; None if it shares no layer with an opponent."""
    own = pick_by_layer(candidates.select(role))
    picks = {name: pick_by_layer(candidates.select(name)) for name in OPPONENTS[role]}
    comparisons = {
        name: compare_picks(role, own, name, others, candidates.margin)
        for name, others in picks.items()
        if others.keys() & own.keys()
    }
    if not comparisons:
        return None
    counts = Counter(sorted(pick.backend for pick in own.values()))
    return ComparisonGroup(kind, comparisons, dict(counts.most_common()))


def compare_picks(
    role: Role, own: _Picks, opponent: Role, others: _Picks, margin: float
) -> PairwiseComparison:
    """Compare two roles on the layers that they share, at least one, pass by pass."""
    logs_of = {label: others[label].log_s - own[label].log_s for label in own if label in others}
    shared = [label for label, logs in logs_of.items() if not np.isnan(logs).all()]
    logs = np.stack([logs_of[label] for label in shared])
    found = estimate(logs)
    decided = verdicts(found, margin)
    return PairwiseComparison(
        role,
        opponent,
        len(shared),
        interval(equal_mean(logs)),
        int((decided == "faster").sum()),
        int((decided == "slower").sum()),
        _largest_error(own[label] for label in shared),
        _largest_error(others[label] for label in shared),
    )


def _largest_error(picks: Iterable[BestPick]) -> float:
    errors = [pick.relative_err for pick in picks if not np.isnan(pick.relative_err)]
    return max(errors, default=np.nan)


class NetworkComparison(NamedTuple):
    """Sum of the layers of one network on own kernels, on torch and on engines."""

    workload: str
    layers: int
    own: Sum  # best own kernel of each layer, or torch if it is faster or there is no kernel
    on_torch: int  # number of layers of `own` on torch
    torch: Sum  # the baseline in one memory format
    engines: Sum  # best engine of each layer, torch in either format included

    @property
    def over_torch(self) -> Interval:
        """Speedup of `own` over `torch`."""
        return ratio(self.torch, self.own)

    @property
    def over_engines(self) -> Interval:
        """Speedup of `own` over `engines`."""
        return ratio(self.engines, self.own)


def compare_networks(candidates: Candidates) -> list[NetworkComparison]:
    """Return the networks with a baseline time on every layer and an own kernel on some."""
    found = []
    for workload, layers in candidates.layers.items():
        network = candidates.where(candidates.cases["network"].eq(workload).fillna(False))
        torch = pick_by_layer(network.select(Role.PLAIN))
        if network.has_role(Role.KERNELS).any() and torch.keys() == layers:
            found.append(_compare_network(network, workload, torch))
    return found


def _compare_network(network: Candidates, workload: str, torch: _Picks) -> NetworkComparison:
    own = pick_by_layer(network.select(Role.KERNELS, Role.TORCH))
    engines = pick_by_layer(network.select(Role.ENGINES))
    counts = network.cases.groupby("label")["layer_count"].first()
    weights = np.array([counts[label] for label in torch], dtype="float64")

    def total(picks: _Picks) -> Sum:
        return sum_layers(np.stack([picks[label].log_s for label in torch]), weights)

    on_torch = sum(pick.backend == network.baseline for pick in own.values())
    return NetworkComparison(
        workload, len(torch), total(own), on_torch, total(torch), total(engines)
    )
