"""Breakdown of whole networks: end-to-end time, convolutions alone and in the network, the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame

from convsweep.analysis.estimates import Array, Interval, estimate, interval
from convsweep.analysis.network_totals import Sum, ratio, sum_layers
from convsweep.analysis.run import Run
from convsweep.results.networks import CONVOLUTION, INSTRUMENTED, OTHER, WHOLE
from convsweep.results.schema import BASELINE

UNATTRIBUTED = "in no call"
"""Time in no call into torch: Python, and interruptions of a forward pass."""
UNDECIDED = "undecided"
_CONDITIONS = ["device", "dtype", "memory_format", "threads", "environment_id"]


@dataclass(frozen=True, kw_only=True)
class ConvolutionsBreakdown:
    """Sums of some convolutions, each timed alone, and of the same ones within the network."""

    isolated: Sum
    in_network: Sum
    overhead_s: float  # seconds that timing all of them may have added, at most

    @property
    def slowdown(self) -> Interval:
        """Time within the network / time alone."""
        return ratio(self.in_network, self.isolated)

    @property
    def extra_s(self) -> float:
        """Seconds that they take more within the network."""
        return self.in_network.time.value - self.isolated.time.value

    @property
    def verdict(self) -> str:
        """`slower`, `faster` or `undecided` in the network; timing overhead is not slower."""
        if self.slowdown.low > 1 and self.extra_s > self.overhead_s:
            return "slower"
        return "faster" if self.slowdown.high < 1 else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class LayerBreakdown(ConvolutionsBreakdown):
    """All convolutions of one problem in a network."""

    layer: str
    count: int


@dataclass(frozen=True, kw_only=True)
class NetworkBreakdown(ConvolutionsBreakdown):
    """One network in one setting; all times are seconds of one forward pass."""

    network: str
    end_to_end: Sum
    others: Mapping[str, Sum]  # calls of other kinds, the longest first
    layers: Sequence[LayerBreakdown]
    passes: int
    cold: Sum | None = None  # sum of the convolutions alone with cold caches; None if not measured

    @property
    def isolated_share(self) -> Interval:
        """Sum of the convolutions alone / end-to-end time."""
        return ratio(self.isolated, self.end_to_end)

    @property
    def unattributed_s(self) -> float:
        """End-to-end seconds in none of the parts; noise may make it negative."""
        parts = [self.in_network, *self.others.values()]
        return self.end_to_end.time.value - sum(part.time.value for part in parts)


Breakdowns = tuple[list[NetworkBreakdown], dict[str, str]]


def breakdowns_by_setting(run: Run, networks: DataFrame) -> dict[str, Breakdowns]:
    """Return the `network_breakdowns` of each setting."""
    return {setting: network_breakdowns(run, networks, setting) for setting in run.settings}


def network_breakdowns(run: Run, networks: DataFrame, setting: str) -> Breakdowns:
    """Return the networks of one setting, and the reasons of those without a breakdown.

    Args:
        run: results of the layers, in all settings.
        networks: all rows of networks.csv.
        setting: setting with hot caches; a setting with cold caches has no networks.
    """
    own, cold = run.within(setting), _with_cold_caches(run, setting)
    conditions = own.cases.loc[own.cases["cache"] == "hot", _CONDITIONS].drop_duplicates()
    by_name = networks.merge(conditions, on=_CONDITIONS).groupby("network", sort=False)
    found = {str(name): _breakdown(own, cold, str(name), rows) for name, rows in by_name}
    return (
        [one for one in found.values() if not isinstance(one, str)],
        {name: reason for name, reason in found.items() if isinstance(reason, str)},
    )


def _with_cold_caches(run: Run, setting: str) -> Run | None:
    """Return the same setting with cold caches; None if the run has none."""
    where = run.cases.drop_duplicates("setting").set_index("setting")[[*_CONDITIONS, "cache"]]
    same = where[(where[_CONDITIONS] == where.loc[setting, _CONDITIONS]).all(axis=1)]
    names = same.index[same["cache"] == "cold"]
    return run.within(str(names[0])) if len(names) else None


def _breakdown(run: Run, cold: Run | None, name: str, rows: DataFrame) -> NetworkBreakdown | str:
    """Return the breakdown of one network, or why there is none."""
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        last = failed.fillna({"reason": ""}).iloc[-1]
        words = [str(last["status"]).replace("_", " "), str(last["reason"])]
        return f"failed end to end: {', '.join(filter(None, words))}"
    # Convolutions without a problem, such as transposed ones, count among the other calls.
    is_plain = (rows["kind"] != CONVOLUTION) | rows["problem"].notna()
    rows = rows.assign(kind=rows["kind"].where(is_plain, OTHER))
    convolutions = rows[rows["kind"] == CONVOLUTION].drop_duplicates(["problem", "pass_index"])
    first = convolutions.drop_duplicates("problem")
    problems, counts = first["problem"].to_list(), first["count"].to_numpy(dtype="float64")
    isolated = _isolated(run, name)
    missing = len(set(problems) - isolated.keys())
    if missing or not problems:
        of = f"{missing} of {len(problems)} distinct convolutions"
        return f"has no breakdown: {of} have no time alone"
    log_isolated = np.stack([isolated[problem] for problem in problems])
    in_network = _by_pass(convolutions, "problem", run).loc[problems]
    log_in_network = np.log(in_network.to_numpy(dtype="float64"))
    log_cold = {} if cold is None else _isolated(cold, name)
    cold_sum = None
    if set(problems) <= log_cold.keys():
        cold_sum = sum_layers(np.stack([log_cold[problem] for problem in problems]), counts)
    others = _others(run, rows[rows["kind"] != INSTRUMENTED])
    call_overhead_s = _call_overhead_s(rows)
    return NetworkBreakdown(
        network=name,
        end_to_end=others.pop(WHOLE),
        isolated=sum_layers(log_isolated, counts),
        in_network=sum_layers(log_in_network, np.ones(len(problems))),
        overhead_s=int(counts.sum()) * call_overhead_s,
        others=dict(sorted(others.items(), key=lambda item: -item[1].time.value)),
        layers=[
            LayerBreakdown(
                layer=str(layer),
                count=int(counts[i]),
                isolated=sum_layers(log_isolated[[i]], counts[[i]]),
                in_network=sum_layers(log_in_network[[i]], np.ones(1)),
                overhead_s=int(counts[i]) * call_overhead_s,
            )
            for i, layer in enumerate(first["layer"])
        ],
        passes=int(rows["pass_index"].nunique()),
        cold=cold_sum,
    )


def _call_overhead_s(rows: DataFrame) -> float:
    """Return by how much timing one call lengthens the forward pass; the median over passes."""
    totals = rows.pivot_table(index="pass_index", columns="kind", values="total_s", aggfunc="sum")
    parts = rows[~rows["kind"].isin((WHOLE, INSTRUMENTED))]
    calls = parts.groupby("pass_index")["count"].sum().astype("float64")
    return max(0.0, float(((totals[INSTRUMENTED] - totals[WHOLE]) / calls).median()))


def _isolated(run: Run, workload: str) -> dict[str, Array]:
    """Return by problem the logarithms of the seconds of its layer alone, one per pass."""
    cases = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    cases = cases[(cases["backend"] == BASELINE) & (cases["status"] == "ok")]
    cases = cases.drop_duplicates("problem")
    return dict(zip(cases["problem"], run.log_s(cases), strict=True))


def _others(run: Run, rows: DataFrame) -> dict[str, Sum]:
    """Return the time of every other kind of call, and end to end."""
    seconds = _by_pass(rows[rows["kind"] != CONVOLUTION], "kind", run)
    logs = np.log(seconds.to_numpy(dtype="float64"))
    return {
        str(kind): Sum(interval(estimate(own)), own)
        for kind, own in zip(seconds.index, logs, strict=True)
    }


def _by_pass(rows: DataFrame, by: str, run: Run) -> DataFrame:
    """Return the seconds of one forward pass, one column per pass of the run; NaN if missing."""
    table = rows.pivot_table(index=by, columns="pass_index", values="total_s", aggfunc="sum")
    return table.reindex(columns=run.pass_times.columns)
