"""Whole networks as sums of their layers, each on the best own kernel, on torch, on the engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import Interval
from convsweep.analysis.families.candidates import (
    ENGINES,
    KERNELS,
    PLAIN,
    TORCH,
    BestPick,
    Candidates,
    picks,
)
from convsweep.analysis.network_totals import Sum, ratio, sum_layers


class NetworkComparison(NamedTuple):
    """One network."""

    workload: str
    layers: int
    own: Sum
    """Every layer on the best own kernel, on torch where there is none or it is slower."""
    on_torch: int
    """The layers of `own` that stay torch's."""
    torch: Sum
    """Every layer on the baseline, in one memory format."""
    engines: Sum
    """Every layer on the best engine, torch in either format among them."""

    @property
    def over_torch(self) -> Interval:
        """How many times faster the own kernels make it."""
        return ratio(self.torch, self.own)

    @property
    def over_engines(self) -> Interval:
        """The same over the best engine of each layer."""
        return ratio(self.engines, self.own)


def compare_networks(field: Candidates) -> list[NetworkComparison]:
    """The networks of which every layer has a time on the baseline, and some on an own kernel."""
    found = []
    for workload, layers in field.layers.items():
        of = field.part(field.cases["workload"].eq(workload).fillna(False))
        torch = picks(of, PLAIN)
        if of.has_role(KERNELS).any() and torch.keys() == layers:
            found.append(_whole(of, workload, torch))
    return found


def _whole(field: Candidates, workload: str, torch: Mapping[str, BestPick]) -> NetworkComparison:
    counts = field.cases.groupby("label")["layer_count"].first()
    own = picks(field, KERNELS, TORCH)
    engines = picks(field, ENGINES)
    weights = np.array([counts[label] for label in torch], dtype="float64")

    def total(chosen: Mapping[str, BestPick]) -> Sum:
        return sum_layers(np.stack([chosen[label].log_s for label in torch]), weights)

    stay = sum(one.backend == field.baseline for one in own.values())
    return NetworkComparison(workload, len(torch), total(own), stay, total(torch), total(engines))
