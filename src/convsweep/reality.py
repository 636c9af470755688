"""Whole networks, run end to end, against the sums of their layers: what the sum leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from convsweep.estimates import Interval, estimate, interval
from convsweep.findings import Run
from convsweep.networks.rows import CONVOLUTION, INSTRUMENTED, WHOLE
from convsweep.store import BASELINE
from convsweep.totals import Sum, ratio, summed

if TYPE_CHECKING:
    from pandas import DataFrame

ALONE = BASELINE
"""The backend that computes a convolution as a network of torch modules does."""
BETWEEN = "between calls"
"""What of the whole is in no call into torch: Python, and what else the network does."""
_SETTING = ["device", "dtype", "memory_format", "threads", "environment_id"]


@dataclass(frozen=True)
class LayerInside:
    """The convolutions of one problem, as often as they occur: alone, and within the network."""

    layer: str
    count: int
    alone: Sum
    inside: Sum

    @property
    def longer(self) -> Interval:
        """Time within the network over time alone."""
        return ratio(self.inside, self.alone)

    @property
    def more_s(self) -> float:
        """Seconds that they take more within the network."""
        return self.inside.time.value - self.alone.time.value


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

    @property
    def share(self) -> Interval:
        """The sum of the layers over the whole."""
        return ratio(self.alone, self.whole)

    @property
    def longer(self) -> Interval:
        """Convolutions within the network over the same ones alone."""
        return ratio(self.inside, self.alone)

    @property
    def between_s(self) -> float:
        """What of the whole is in none of its parts; noise may put it below zero."""
        parts = [self.inside, *self.others.values()]
        return self.whole.time.value - sum(part.time.value for part in parts)

    @property
    def overhead(self) -> float:
        """What timing the parts added, as a share of the whole."""
        return self.watched.time.value / self.whole.time.value - 1


@dataclass(frozen=True)
class Absent:
    """A network that could not be run as a whole."""

    network: str
    status: str
    reason: str


def realities(run: Run, networks: DataFrame) -> tuple[list[Reality], list[Absent]]:
    """The networks of one setting that were run whole, and those that could not be.

    A network without a time alone for each of its convolutions is left out.

    Args:
        run: one setting of it.
        networks: the rows of networks.csv, all of them.
    """
    setting = run.cases.loc[run.cases["cache"] == "hot", _SETTING].drop_duplicates()
    rows = networks.merge(setting, on=_SETTING) if len(setting) else networks.iloc[:0]
    found: list[Reality] = []
    absent: list[Absent] = []
    for name, own in rows.groupby("network", sort=False):
        failed = own[own["status"] != "ok"]
        if len(failed):
            last = failed.iloc[-1]
            reason = "" if pd.isna(last["reason"]) else str(last["reason"])
            absent.append(Absent(str(name), str(last["status"]), reason))
        elif reality := _reality(run, str(name), own):
            found.append(reality)
    return found, absent


def _reality(run: Run, name: str, rows: DataFrame) -> Reality | None:
    alone = _alone(run, name)
    inside = rows[rows["kind"] == CONVOLUTION].drop_duplicates(["problem", "pass_index"])
    problems = list(dict.fromkeys(inside["problem"]))
    if not problems or not set(problems) <= set(alone.index):
        return None
    first = inside.drop_duplicates("problem")  # in the order of `problems`
    counts = first["count"].to_numpy(dtype="float64")
    log_alone = np.log(alone.loc[problems].to_numpy(dtype="float64"))
    log_inside = np.log(_by_pass(inside, "problem", run).loc[problems].to_numpy(dtype="float64"))
    once = np.ones(len(problems))
    layers = [
        LayerInside(
            str(layer),
            int(n),
            summed(log_alone[[i]], n * once[:1]),
            summed(log_inside[[i]], once[:1]),
        )
        for i, (layer, n) in enumerate(zip(first["layer"], counts, strict=True))
    ]
    others = _others(run, rows)
    return Reality(
        network=name,
        whole=others.pop(WHOLE),
        watched=others.pop(INSTRUMENTED),
        alone=summed(log_alone, counts),
        inside=summed(log_inside, once),
        others=dict(sorted(others.items(), key=lambda item: -item[1].time.value)),
        layers=layers,
        passes=int(rows["pass_index"].nunique()),
    )


def _alone(run: Run, workload: str) -> DataFrame:
    """Seconds of each layer on its own: a row a problem, a column a pass."""
    cases = run.cases[run.cases["workload"].eq(workload).fillna(False)]
    cases = cases[(cases["backend"] == ALONE) & (cases["status"] == "ok")]
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
