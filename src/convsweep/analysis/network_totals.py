"""Networks as sums of their layers: standard, separable, and with the fastest backend per layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Array, Interval, estimate, interval, total
from convsweep.analysis.run import Run
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE

STANDARD_SUFFIX = "_standard"
"""What the name of a workload ends with that is another one without its separable layers."""

STANDARD, REPLACED, FASTEST, FASTEST_OF_ALL = (
    "standard", "separable where it can be", "fastest per layer", "fastest or separable per layer",
)  # fmt: skip


_MIN_MAC_RATIO = 1.1  # a network that is separable already has its first layer left


class Sum(NamedTuple):
    """Seconds added up over layers, each as often as it occurs."""

    time: Interval
    log_s: Array
    """One value a pass; NaN where a pass has not all of it."""


@dataclass(frozen=True)
class NetworkChoice:
    """A backend for each layer of a network, and what that comes to."""

    name: str
    backends: Mapping[str, str]
    """By the layer's label."""
    sum: Sum
    macs: int
    parameters: int
    """Of the convolutions alone."""
    speedup: Interval
    """Over the baseline on every layer; 1 is that itself."""
    mac_ratio: float
    """The same as MACs have it."""


@dataclass(frozen=True)
class NetworkSum:
    """One workload in one setting."""

    workload: str
    layers: int
    """Distinct ones."""
    convolutions: int
    choices: Mapping[str, NetworkChoice]
    """`STANDARD` first; empty where not every layer has a time on the baseline."""

    @property
    def standard(self) -> NetworkChoice:
        """The baseline on every layer."""
        return self.choices[STANDARD]

    @property
    def replaced(self) -> NetworkChoice | None:
        """The separable choice, where MACs promise enough of it to speak of."""
        choice = self.choices.get(REPLACED)
        return choice if choice and choice.mac_ratio >= _MIN_MAC_RATIO else None


def sum_layers(log_s: Array, counts: Array) -> Sum:
    """The sum over cases, a row each of `log_s` with a column a pass, times their counts."""
    with np.errstate(invalid="ignore"):
        by_pass = np.log((counts[:, np.newaxis] * np.exp(log_s)).sum(axis=0))
    return Sum(interval(total(log_s, counts)), by_pass)


def ratio(one: Sum, other: Sum) -> Interval:
    """How many times longer `one` takes than `other`; errors from the passes that both have."""
    found = estimate(one.log_s - other.log_s)
    return interval(found._replace(mean=np.log(one.time.value / other.time.value)))


def network_sums(run: Run) -> list[NetworkSum]:
    """Every workload of one setting, in the order of its rows."""
    workloads = run.cases["workload"].dropna().unique()
    return [_network_sum(run, str(workload)) for workload in workloads]


def standard_pairs(sums: Sequence[NetworkSum]) -> Iterable[tuple[NetworkSum, NetworkSum]]:
    """Each network that is there twice, as published and as its standard twin, in this order."""
    by_name = {one.workload: one for one in sums if one.choices}
    for name, one in by_name.items():
        if name + STANDARD_SUFFIX in by_name:
            yield one, by_name[name + STANDARD_SUFFIX]


def _network_sum(run: Run, workload: str) -> NetworkSum:
    cases = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    first = cases.drop_duplicates("label")
    timed = cases[cases["status"] == "ok"]
    by_label = {
        str(label): {str(case["backend"]): case for case in group.to_dict("records")}
        for label, group in timed.groupby("label", sort=False)
    }
    every_layer = all(run.baseline in by_label.get(str(label), {}) for label in first["label"])
    return NetworkSum(
        workload,
        len(first),
        int(first["layer_count"].sum()),
        _choices(run, by_label) if every_layer and not run.missing_cases else {},
    )


_Cases = Mapping[str, Mapping[str, Mapping[Any, Any]]]
"""By label and backend; only cases with a time."""


def _choices(run: Run, by_label: _Cases) -> dict[str, NetworkChoice]:
    standard = dict.fromkeys(by_label, run.baseline)
    chosen = {STANDARD: standard}
    if any(SEPARABLE in cases for cases in by_label.values()):
        chosen[REPLACED] = {
            label: SEPARABLE if SEPARABLE in cases else run.baseline
            for label, cases in by_label.items()
        }
    same = {label: _fastest(cases, without=SEPARABLE) for label, cases in by_label.items()}
    if len({name for cases in by_label.values() for name in cases} - {SEPARABLE}) > 1:
        chosen[FASTEST] = same
    if REPLACED in chosen:
        of_all = {label: _fastest(cases) for label, cases in by_label.items()}
        chosen |= {} if of_all in chosen.values() else {FASTEST_OF_ALL: of_all}
    base = _sum(run, by_label, standard)
    return {
        name: _choice(name, backends, by_label, base, _sum(run, by_label, backends))
        for name, backends in chosen.items()
    }


def _fastest(cases: Mapping[str, Mapping[Any, Any]], without: str = "") -> str:
    return min((name for name in cases if name != without), key=lambda n: cases[n]["median_s"])


def _sum(run: Run, by_label: _Cases, backends: Mapping[str, str]) -> Sum:
    cases = [by_label[label][backend] for label, backend in backends.items()]
    keys = pd.MultiIndex.from_tuples([(c["setting"], c["label"], c["backend"]) for c in cases])
    log_s = np.log(run.pass_times.loc[keys].to_numpy(dtype="float64"))
    return sum_layers(log_s, np.array([c["layer_count"] for c in cases], dtype="float64"))


def _choice(
    name: str, backends: Mapping[str, str], by_label: _Cases, base: Sum, own: Sum
) -> NetworkChoice:
    cases = [by_label[label][backend] for label, backend in backends.items()]
    macs = sum(int(case["layer_count"]) * int(case["backend_macs"]) for case in cases)
    standard = sum(int(case["layer_count"]) * int(case["macs"]) for case in cases)
    weights = sum(int(case["layer_count"]) * parameters(case) for case in cases)
    speedup = Interval(1.0, 1.0, 1.0) if name == STANDARD else ratio(base, own)
    return NetworkChoice(name, backends, own, macs, weights, speedup, standard / macs)


def parameters(case: Mapping[Any, Any]) -> int:
    """The weights of one layer: of the convolution, or of both halves where it is replaced."""
    problem = ConvProblem.parse(str(case["problem"]))
    weights = math.prod(problem.weight_shape)
    if case["backend"] == SEPARABLE:
        taps = math.prod(problem.kernel_size)
        weights = problem.in_channels * (taps + problem.out_channels)
    return weights + problem.out_channels * problem.bias
