"""Networks as sums of their layers: standard, separable, and with the fastest backend per layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

from convsweep.analysis.estimates import Array, Interval, estimate, interval, total
from convsweep.analysis.labels import BATCH
from convsweep.analysis.run import Run
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE

STANDARD_SUFFIX = "_standard"  # Suffix of the workload that is another one with standard layers

STANDARD, REPLACED, FASTEST, FASTEST_OF_ALL = (
    "standard", "separable where it can be", "fastest per layer", "fastest or separable per layer",
)  # fmt: skip
_MIN_MAC_RATIO = 1.1  # of a network that is separable already only the first layer is replaced


class Sum(NamedTuple):
    """Sum of seconds over layers, each as often as it occurs."""

    time: Interval
    log_s: Array  # one value per pass; NaN if the pass is incomplete


@dataclass(frozen=True)
class NetworkChoice:
    """One backend per layer of a network, and the resulting totals."""

    name: str
    backends: Mapping[str, str]  # backend by label of the layer
    sum: Sum
    macs: int
    speedup: Interval  # speedup over the baseline on every layer
    mac_ratio: float  # speedup expected from the MAC count


@dataclass(frozen=True)
class NetworkSum:
    """One network in one setting."""

    network: str
    choices: Mapping[str, NetworkChoice]
    """`STANDARD` first; empty unless every layer has a time on the baseline."""

    @property
    def workload(self) -> str:
        """Name without the batch size."""
        return self.network.partition(BATCH)[0]

    @property
    def standard(self) -> NetworkChoice:
        """Baseline on every layer."""
        return self.choices[STANDARD]

    @property
    def replaced(self) -> NetworkChoice | None:
        """Separable choice; None if the MAC ratio is near 1."""
        choice = self.choices.get(REPLACED)
        return choice if choice and choice.mac_ratio >= _MIN_MAC_RATIO else None


def sum_layers(log_s: Array, counts: Array) -> Sum:
    """Return the sum over layers of `log_s` (layers, passes), weighted by `counts`."""
    with np.errstate(invalid="ignore"):
        by_pass = np.log((counts[:, np.newaxis] * np.exp(log_s)).sum(axis=0))
    return Sum(interval(total(log_s, counts)), by_pass)


def ratio(one: Sum, other: Sum) -> Interval:
    """Return time of `one` / time of `other`, with errors from the passes that both have."""
    found = estimate(one.log_s - other.log_s)
    return interval(found._replace(mean=np.log(one.time.value / other.time.value)))


def network_sums(run: Run) -> list[NetworkSum]:
    """Return every network of one setting, in the order of its rows."""
    networks = run.cases["network"].dropna().unique()
    return [network_sum(run, str(network)) for network in networks]


def standard_pairs(sums: Sequence[NetworkSum]) -> Iterable[tuple[NetworkSum, NetworkSum]]:
    """Yield each network together with its version with standard layers."""
    by_name = {one.network: one for one in sums if one.choices}
    for name, one in by_name.items():
        workload, *batch = name.partition(BATCH)
        standard = by_name.get("".join((workload, STANDARD_SUFFIX, *batch)))
        if standard:
            yield one, standard


def largest_savings(run: Run, most: int) -> DataFrame:
    """Return per network at most `most` cases that save most time, one per setting and layer.

    Only backends that are significantly faster; `baseline_s` and `saving_s` are of all calls.
    """
    cases = run.cases[run.cases["workload"].notna() & (run.cases["verdict"] == "faster")]
    kept = ~(cases["label"].isin(run.fully_connected) & (cases["backend"] == SEPARABLE))
    own_s = cases["layer_count"].astype("float64") * cases["time_s"]
    baseline_s = own_s * cases["speedup"]
    cases = cases.assign(baseline_s=baseline_s, saving_s=baseline_s - own_s)[kept]
    cases = cases.sort_values(["network", "saving_s"], ascending=[True, False])
    best = cases.drop_duplicates(["setting", "network", "label"])
    return best.groupby(["setting", "network"]).head(most)


_NEEDED = [
    "setting", "label", "backend", "problem", "time_s", "layer_count", "macs", "backend_macs",
]  # fmt: skip


def network_sum(run: Run, network: str) -> NetworkSum:
    """Return one network of one setting."""
    cases = run.cases[run.cases["network"].eq(network).fillna(False)]
    timed = cases.loc[cases["status"] == "ok", _NEEDED]  # dictionaries of all would take longer
    by_label = {
        str(label): {
            str(case["backend"]): case
            for case in group.to_dict("records")
            if case["backend"] != SEPARABLE
            or not ConvProblem.parse(str(case["problem"])).is_fully_connected
        }
        for label, group in timed.groupby("label", sort=False)
    }
    every_layer = all(run.baseline in by_label.get(str(label), {}) for label in cases["label"])
    complete = every_layer and not run.missing_cases
    return NetworkSum(network, _choices(run, by_label) if complete else {})


_Cases = Mapping[str, Mapping[str, Mapping[Any, Any]]]  # Cases with a time, by label and backend


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
    first = _choice(run, STANDARD, standard, by_label)
    others = (_choice(run, *item, by_label, first.sum) for item in [*chosen.items()][1:])
    return {choice.name: choice for choice in (first, *others)}


def _fastest(cases: Mapping[str, Mapping[Any, Any]], without: str = "") -> str:
    return min((name for name in cases if name != without), key=lambda n: cases[n]["time_s"])


def _choice(
    run: Run, name: str, backends: Mapping[str, str], by_label: _Cases, standard: Sum | None = None
) -> NetworkChoice:
    """Return the totals of one choice; `standard` is None for the standard choice itself."""
    cases = [by_label[label][backend] for label, backend in backends.items()]
    counts = [int(case["layer_count"]) for case in cases]
    own = sum_layers(run.log_s(pd.DataFrame(cases)), np.array(counts, dtype="float64"))
    macs, standard_macs = (
        sum(count * int(each(case)) for count, case in zip(counts, cases, strict=True))
        for each in (itemgetter("backend_macs"), itemgetter("macs"))
    )
    speedup = ratio(standard, own) if standard else Interval(1.0, 1.0, 1.0)
    return NetworkChoice(name, backends, own, macs, speedup, standard_macs / macs)
