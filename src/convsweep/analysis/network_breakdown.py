"""Whole networks, run end to end, against the sums of their layers: what the sum leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Array, Interval, estimate, interval
from convsweep.analysis.network_totals import Sum, ratio, sum_layers
from convsweep.analysis.run import Run
from convsweep.results.networks import CONVOLUTION, INSTRUMENTED, OTHER, WHOLE
from convsweep.results.schema import BASELINE

if TYPE_CHECKING:
    from pandas import DataFrame

ALONE = BASELINE
"""The backend that computes a convolution as a network of torch modules does."""
UNATTRIBUTED = "in no call"
"""What of the whole is in no call into torch: Python, and whatever interrupted a forward pass.

A part is the sum of its calls' medians, and a short call is seldom interrupted.
"""
_CONDITIONS = ["device", "dtype", "memory_format", "threads", "environment_id"]


@dataclass(frozen=True)
class LayerBreakdown:
    """The convolutions of one problem, as often as they occur: alone, and within the network."""

    layer: str
    count: int
    isolated: Sum
    in_network: Sum
    overhead_s: float
    """What timing all of them within the network may have added, at most."""

    @property
    def slowdown(self) -> Interval:
        """Time within the network over time alone."""
        return ratio(self.in_network, self.isolated)

    @property
    def extra_s(self) -> float:
        """Seconds that they take more within the network."""
        return self.in_network.time.value - self.isolated.time.value

    @property
    def sign(self) -> int:
        """1 where they surely take longer within the network, -1 where less; 0 where none can tell.

        What timing may have added is no sign of longer.
        """
        return _sign(self.slowdown, self.extra_s, self.overhead_s)


@dataclass(frozen=True)
class NetworkBreakdown:
    """One network in one setting, as a whole and in parts; seconds of one forward pass."""

    network: str
    end_to_end: Sum
    isolated: Sum
    """The convolutions, each timed alone, added up."""
    in_network: Sum
    """The same convolutions within the network."""
    others: Mapping[str, Sum]
    """Calls of other kinds, the longest first."""
    instrumented: Sum
    """The forward pass while its parts were timed."""
    layers: Sequence[LayerBreakdown]
    passes: int
    call_overhead_s: float
    """What timing one call may have added to it, at most: the forward pass grew by that a call.

    Most of it is spent between calls, so that taking it off them would be too much.
    """
    cold: Sum | None = None
    """The convolutions alone, caches emptied before each call; None where that was not timed."""

    @property
    def isolated_share(self) -> Interval:
        """The sum of the layers over the whole."""
        return ratio(self.isolated, self.end_to_end)

    @property
    def slowdown(self) -> Interval:
        """Convolutions within the network over the same ones alone."""
        return ratio(self.in_network, self.isolated)

    @property
    def sign(self) -> int:
        """Of all convolutions, as that of a layer."""
        more_s = self.in_network.time.value - self.isolated.time.value
        return _sign(self.slowdown, more_s, sum(layer.overhead_s for layer in self.layers))

    @property
    def unattributed_s(self) -> float:
        """What of the whole is in none of its parts; noise may put it below zero."""
        parts = [self.in_network, *self.others.values()]
        return self.end_to_end.time.value - sum(part.time.value for part in parts)

    @property
    def instrumentation_overhead(self) -> float:
        """What timing the parts added, as a share of the whole."""
        return self.instrumented.time.value / self.end_to_end.time.value - 1


def _sign(longer: Interval, more_s: float, overhead_s: float) -> int:
    if longer.low > 1 and more_s > overhead_s:
        return 1
    return -1 if longer.high < 1 else 0


@dataclass(frozen=True)
class MissingNetwork:
    """A network that nothing can be said of."""

    network: str
    why: str


def network_breakdowns(
    run: Run, networks: DataFrame, setting: str
) -> tuple[list[NetworkBreakdown], list[MissingNetwork]]:
    """The networks of one setting that were run whole, and those that nothing can be said of.

    Args:
        run: all of it.
        networks: the rows of networks.csv, all of them.
        setting: the one to tell of; where its caches are cold, there is nothing to tell.
    """
    own, cold = run.within(setting), _with_cold_caches(run, setting)
    conditions = own.cases.loc[own.cases["cache"] == "hot", _CONDITIONS].drop_duplicates()
    by_name = networks.merge(conditions, on=_CONDITIONS).groupby("network", sort=False)
    told = [_breakdown(own, cold, str(name), _with_others_apart(rows)) for name, rows in by_name]
    return (
        [one for one in told if isinstance(one, NetworkBreakdown)],
        [one for one in told if isinstance(one, MissingNetwork)],
    )


def _with_cold_caches(run: Run, setting: str) -> Run | None:
    """The same setting with caches emptied before each call, where the run has it."""
    where = run.cases.drop_duplicates("setting").set_index("setting")[[*_CONDITIONS, "cache"]]
    beside = where[(where[_CONDITIONS] == where.loc[setting, _CONDITIONS]).all(axis=1)]
    names = beside.index[beside["cache"] == "cold"]
    return run.within(str(names[0])) if len(names) else None


def _with_others_apart(rows: DataFrame) -> DataFrame:
    """The rows with convolutions that no problem stands for, transposed ones, among the others."""
    is_plain = (rows["kind"] != CONVOLUTION) | rows["problem"].notna()
    return rows.assign(kind=rows["kind"].where(is_plain, OTHER))


def _breakdown(
    run: Run, cold: Run | None, name: str, rows: DataFrame
) -> NetworkBreakdown | MissingNetwork:
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        last = failed.fillna({"reason": ""}).iloc[-1]
        told = [str(last["status"]).replace("_", " "), str(last["reason"])]
        return MissingNetwork(name, f"could not be run whole: {', '.join(filter(None, told))}")
    inside = rows[rows["kind"] == CONVOLUTION].drop_duplicates(["problem", "pass_index"])
    first = inside.drop_duplicates("problem")
    problems, counts = first["problem"].to_list(), first["count"].to_numpy(dtype="float64")
    alone = _alone(run, name)
    lacking = len(set(problems) - set(alone.index))
    if lacking or not problems:
        of = f"{lacking} of its {len(problems)} distinct convolutions"
        return MissingNetwork(name, f"was run whole, but {of} have no time alone")
    log_alone = np.log(alone.loc[problems].to_numpy(dtype="float64"))
    log_inside = np.log(_by_pass(inside, "problem", run).loc[problems].to_numpy(dtype="float64"))
    once = np.ones(len(problems))
    others = _others(run, rows)
    watch_s = _watch_s(rows)
    return NetworkBreakdown(
        network=name,
        end_to_end=others.pop(WHOLE),
        instrumented=others.pop(INSTRUMENTED),
        isolated=sum_layers(log_alone, counts),
        in_network=sum_layers(log_inside, once),
        others=dict(sorted(others.items(), key=lambda item: -item[1].time.value)),
        layers=_layers(first, log_alone, log_inside, watch_s),
        passes=int(rows["pass_index"].nunique()),
        call_overhead_s=watch_s,
        cold=_cold(cold, name, problems, counts),
    )


def _watch_s(rows: DataFrame) -> float:
    """By how much each call made the forward pass longer when it was timed; the median pass's."""
    totals = rows.pivot_table(index="pass_index", columns="kind", values="total_s", aggfunc="sum")
    parts = rows[~rows["kind"].isin((WHOLE, INSTRUMENTED))]
    calls = parts.groupby("pass_index")["count"].sum().astype("float64")
    return max(0.0, float(((totals[INSTRUMENTED] - totals[WHOLE]) / calls).median()))


def _layers(
    first: DataFrame, log_alone: Array, log_inside: Array, call_overhead_s: float
) -> list[LayerBreakdown]:
    """Each problem on its own, a row of the first three arguments."""
    return [
        LayerBreakdown(
            str(layer),
            int(count),
            sum_layers(log_alone[[i]], np.array([float(count)])),
            sum_layers(log_inside[[i]], np.ones(1)),
            int(count) * call_overhead_s,
        )
        for i, (layer, count) in enumerate(zip(first["layer"], first["count"], strict=True))
    ]


def _cold(run: Run | None, name: str, problems: list[str], counts: Array) -> Sum | None:
    alone = None if run is None else _alone(run, name)
    if alone is None or not set(problems) <= set(alone.index):
        return None
    return sum_layers(np.log(alone.loc[problems].to_numpy(dtype="float64")), counts)


def _alone(run: Run, workload: str) -> DataFrame:
    """Seconds of each layer on its own: a row a problem, a column a pass."""
    cases = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    cases = cases[(cases["backend"] == ALONE) & (cases["status"] == "ok")]
    cases = cases.drop_duplicates("problem")
    keys = pd.MultiIndex.from_frame(cases[["setting", "label", "backend"]])
    return run.pass_times.loc[keys].set_axis(cases["problem"].to_list(), axis=0)


def _others(run: Run, rows: DataFrame) -> dict[str, Sum]:
    """Every other kind of call, and the whole."""
    seconds = _by_pass(rows[rows["kind"] != CONVOLUTION], "kind", run)
    logs = np.log(seconds.to_numpy(dtype="float64"))
    return {
        str(kind): Sum(interval(estimate(own)), own)
        for kind, own in zip(seconds.index, logs, strict=True)
    }


def _by_pass(rows: DataFrame, what: str, run: Run) -> DataFrame:
    """Seconds of one forward pass, a column for each of the run's passes; NaN where it has none."""
    table = rows.pivot_table(index=what, columns="pass_index", values="total_s", aggfunc="sum")
    return table.reindex(columns=run.pass_times.columns)


def apart(one: NetworkBreakdown, other: NetworkBreakdown) -> Interval:
    """How many times longer one whole network takes than another."""
    return ratio(one.end_to_end, other.end_to_end)
