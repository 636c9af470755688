"""The best of one family against torch and against the best engine, kind by kind of layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import Interval, estimate, interval, weighted_mean
from convsweep.analysis.families.candidates import (
    ALGORITHMS,
    ENGINES,
    KERNELS,
    KINDS,
    PLAIN,
    SEPARABLE_ENGINES,
    SEPARABLE_KERNELS,
    SEPARABLES,
    TORCH,
    BestPick,
    Candidates,
    picks,
)
from convsweep.analysis.verdicts import verdicts

OPPONENTS = {
    KERNELS: (PLAIN, TORCH, ENGINES),
    ALGORITHMS: (PLAIN,),
    SEPARABLE_KERNELS: (SEPARABLES, SEPARABLE_ENGINES),
}
"""Who is held against whom."""
SEPARABLE_BLOCKS = "separable blocks"


class PairwiseComparison(NamedTuple):
    """One role against another, over the layers that both have a time of."""

    role: str
    opponent: str
    layers: int
    speedup: Interval
    """Geometric mean over layers; every layer weighs alike."""
    won: int
    """Layers on which it is the faster one, sure or not."""
    decided: int
    """Those on which it surely is, corrected for their number."""
    lost: int
    """Those on which it surely is the slower one."""
    error: float
    """The largest relative error of what was picked on these layers."""
    opponent_error: float


class ComparisonGroup(NamedTuple):
    """All duels of one role on the same layers."""

    workload: str
    """"": all layers of the run."""
    kind: str
    comparisons: Mapping[str, PairwiseComparison]
    """By the opponent, the baseline first."""
    backends: Mapping[str, int]
    """How often each backend was picked."""

    @property
    def role(self) -> str:
        """Who plays."""
        return next(iter(self.comparisons.values())).role


def compare_families(field: Candidates) -> list[ComparisonGroup]:
    """Every role on every kind of layer, over all layers; then network by network."""
    found = _of_layers(field, "")
    workloads = field.cases["workload"].dropna().unique()
    if len(workloads) > 1:
        for workload in workloads:
            of = field.part(field.cases["workload"].eq(workload).fillna(False))
            found += _of_layers(of, str(workload))
    return found


def _of_layers(field: Candidates, workload: str) -> list[ComparisonGroup]:
    """Dense layers kind by kind, then separable blocks of all kinds."""
    parts = {kind: field.part(field.cases["kind"] == kind) for kind in KINDS}
    told = [
        _match(part, role, workload, kind)
        for kind, part in parts.items()
        for role in (KERNELS, ALGORITHMS)
    ]
    told.append(_match(field, SEPARABLE_KERNELS, workload, SEPARABLE_BLOCKS))
    return [match for match in told if match is not None]


def _match(field: Candidates, role: str, workload: str, kind: str) -> ComparisonGroup | None:
    """All duels of one role; None where it shares no layer with anybody."""
    own = picks(field, role)
    comparisons = {
        opponent: compare_backends(field, role, opponent, own, theirs)
        for opponent in OPPONENTS[role]
        if (theirs := picks(field, opponent)).keys() & own.keys()
    }
    return (
        ComparisonGroup(workload, kind, comparisons, _counts(own.values())) if comparisons else None
    )


def _counts(found: Iterable[BestPick]) -> dict[str, int]:
    names = [one.backend for one in found]
    return {name: names.count(name) for name in sorted(set(names), key=names.count, reverse=True)}


def compare_backends(
    field: Candidates,
    role: str,
    opponent: str,
    own: Mapping[str, BestPick],
    theirs: Mapping[str, BestPick],
) -> PairwiseComparison:
    """Both on the layers that they share, one at least; times of one pass are divided."""
    logs_of = {label: theirs[label].log_s - own[label].log_s for label in own if label in theirs}
    shared = [label for label, logs in logs_of.items() if not np.isnan(logs).all()]
    logs = np.stack([logs_of[label] for label in shared])
    found = estimate(logs)
    said = verdicts(found, field.margin)
    return PairwiseComparison(
        role,
        opponent,
        len(shared),
        interval(weighted_mean(logs, np.full(len(shared), 1 / len(shared)))),
        int((found.mean > 0).sum()),
        int((said == "faster").sum()),
        int((said == "slower").sum()),
        _worst(own[label] for label in shared),
        _worst(theirs[label] for label in shared),
    )


def _worst(found: Iterable[BestPick]) -> float:
    """The largest error that is known; NaN where none is."""
    errors = [one.relative_err for one in found if not np.isnan(one.relative_err)]
    return max(errors, default=np.nan)
