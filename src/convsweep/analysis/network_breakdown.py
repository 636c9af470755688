"""Whole networks, run end to end, against the sums of their layers: what the sum leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Interval, Numbers, estimate, interval
from convsweep.analysis.network_totals import Sum, ratio, summed
from convsweep.analysis.run import Run
from convsweep.results.network_store import CONVOLUTION, INSTRUMENTED, OTHER, WHOLE
from convsweep.results.store import BASELINE

if TYPE_CHECKING:
    from pandas import DataFrame

ALONE = BASELINE
"""The backend that computes a convolution as a network of torch modules does."""
BETWEEN = "in no call"
"""What of the whole is in no call into torch: Python, and whatever interrupted a forward pass.

A part is the sum of its calls' medians, and a short call is seldom interrupted.
"""
_CONDITIONS = ["device", "dtype", "memory_format", "threads", "environment_id"]


@dataclass(frozen=True)
class LayerInside:
    """The convolutions of one problem, as often as they occur: alone, and within the network."""

    layer: str
    count: int
    alone: Sum
    inside: Sum
    watching_s: float
    """What timing all of them within the network may have added, at most."""

    @property
    def longer(self) -> Interval:
        """Time within the network over time alone."""
        return ratio(self.inside, self.alone)

    @property
    def more_s(self) -> float:
        """Seconds that they take more within the network."""
        return self.inside.time.value - self.alone.time.value

    @property
    def sign(self) -> int:
        """1 where they surely take longer within the network, -1 where less; 0 where none can tell.

        What timing may have added is no sign of longer.
        """
        return _sign(self.longer, self.more_s, self.watching_s)


@dataclass(frozen=True)
class Reality:
    """One network in one setting, as a whole and in parts; seconds of one forward pass."""

    network: str
    whole: Sum
    alone: Sum
    """The convolutions, each timed alone, added up."""
    inside: Sum
    """The same convolutions within the network."""
    others: Mapping[str, Sum]
    """Calls of other kinds, the longest first."""
    watched: Sum
    """The forward pass while its parts were timed."""
    layers: Sequence[LayerInside]
    passes: int
    watch_s: float
    """What timing one call may have added to it, at most: the forward pass grew by that a call.

    Most of it is spent between calls, so that taking it off them would be too much.
    """
    cold: Sum | None = None
    """The convolutions alone, caches emptied before each call; None where that was not timed."""

    @property
    def share(self) -> Interval:
        """The sum of the layers over the whole."""
        return ratio(self.alone, self.whole)

    @property
    def longer(self) -> Interval:
        """Convolutions within the network over the same ones alone."""
        return ratio(self.inside, self.alone)

    @property
    def sign(self) -> int:
        """Of all convolutions, as that of a layer."""
        more_s = self.inside.time.value - self.alone.time.value
        return _sign(self.longer, more_s, sum(layer.watching_s for layer in self.layers))

    @property
    def between_s(self) -> float:
        """What of the whole is in none of its parts; noise may put it below zero."""
        parts = [self.inside, *self.others.values()]
        return self.whole.time.value - sum(part.time.value for part in parts)

    @property
    def overhead(self) -> float:
        """What timing the parts added, as a share of the whole."""
        return self.watched.time.value / self.whole.time.value - 1


def _sign(longer: Interval, more_s: float, watching_s: float) -> int:
    if longer.low > 1 and more_s > watching_s:
        return 1
    return -1 if longer.high < 1 else 0


@dataclass(frozen=True)
class Absent:
    """A network that nothing can be said of."""

    network: str
    why: str


def realities(run: Run, networks: DataFrame, setting: str) -> tuple[list[Reality], list[Absent]]:
    """The networks of one setting that were run whole, and those that nothing can be said of.

    Args:
        run: all of it.
        networks: the rows of networks.csv, all of them.
        setting: the one to tell of; where its caches are cold, there is nothing to tell.
    """
    own, cold = run.within(setting), _with_cold_caches(run, setting)
    conditions = own.cases.loc[own.cases["cache"] == "hot", _CONDITIONS].drop_duplicates()
    by_name = networks.merge(conditions, on=_CONDITIONS).groupby("network", sort=False)
    told = [_reality(own, cold, str(name), _with_others_apart(rows)) for name, rows in by_name]
    return (
        [one for one in told if isinstance(one, Reality)],
        [one for one in told if isinstance(one, Absent)],
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


def _reality(run: Run, cold: Run | None, name: str, rows: DataFrame) -> Reality | Absent:
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        last = failed.fillna({"reason": ""}).iloc[-1]
        told = [str(last["status"]).replace("_", " "), str(last["reason"])]
        return Absent(name, f"could not be run whole: {', '.join(filter(None, told))}")
    inside = rows[rows["kind"] == CONVOLUTION].drop_duplicates(["problem", "pass_index"])
    first = inside.drop_duplicates("problem")
    problems, counts = first["problem"].to_list(), first["count"].to_numpy(dtype="float64")
    alone = _alone(run, name)
    lacking = len(set(problems) - set(alone.index))
    if lacking or not problems:
        of = f"{lacking} of its {len(problems)} distinct convolutions"
        return Absent(name, f"was run whole, but {of} have no time alone")
    log_alone = np.log(alone.loc[problems].to_numpy(dtype="float64"))
    log_inside = np.log(_by_pass(inside, "problem", run).loc[problems].to_numpy(dtype="float64"))
    once = np.ones(len(problems))
    others = _others(run, rows)
    watch_s = _watch_s(rows)
    return Reality(
        network=name,
        whole=others.pop(WHOLE),
        watched=others.pop(INSTRUMENTED),
        alone=summed(log_alone, counts),
        inside=summed(log_inside, once),
        others=dict(sorted(others.items(), key=lambda item: -item[1].time.value)),
        layers=_layers(first, log_alone, log_inside, watch_s),
        passes=int(rows["pass_index"].nunique()),
        watch_s=watch_s,
        cold=_cold(cold, name, problems, counts),
    )


def _watch_s(rows: DataFrame) -> float:
    """By how much each call made the forward pass longer when it was timed; the median pass's."""
    totals = rows.pivot_table(index="pass_index", columns="kind", values="total_s", aggfunc="sum")
    parts = rows[~rows["kind"].isin((WHOLE, INSTRUMENTED))]
    calls = parts.groupby("pass_index")["count"].sum().astype("float64")
    return max(0.0, float(((totals[INSTRUMENTED] - totals[WHOLE]) / calls).median()))


def _layers(
    first: DataFrame, log_alone: Numbers, log_inside: Numbers, watch_s: float
) -> list[LayerInside]:
    """Each problem on its own, a row of the first three arguments."""
    return [
        LayerInside(
            str(layer),
            int(count),
            summed(log_alone[[i]], np.array([float(count)])),
            summed(log_inside[[i]], np.ones(1)),
            int(count) * watch_s,
        )
        for i, (layer, count) in enumerate(zip(first["layer"], first["count"], strict=True))
    ]


def _cold(run: Run | None, name: str, problems: list[str], counts: Numbers) -> Sum | None:
    alone = None if run is None else _alone(run, name)
    if alone is None or not set(problems) <= set(alone.index):
        return None
    return summed(np.log(alone.loc[problems].to_numpy(dtype="float64")), counts)


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


def apart(one: Reality, other: Reality) -> Interval:
    """How many times longer one whole network takes than another."""
    return ratio(one.whole, other.whole)
