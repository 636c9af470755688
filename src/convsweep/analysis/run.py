"""What a run's numbers say, and how surely: the fastest of each problem, means, network totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.cases import split
from convsweep.analysis.estimates import Interval, estimate, interval, total, weighted_mean
from convsweep.analysis.labels import label_cases
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.problems.separable import FACTORED
from convsweep.results.schema import MACHINE_COLUMNS, MARGIN

if TYPE_CHECKING:
    from pandas import DataFrame, Series


MAX_BACKENDS_WITH_FEWER_MACS = 3
"""Backends with fewer multiplications of which each has a sentence and a figure."""


class Run(NamedTuple):
    """What is drawn and told: one row a case, and each case's seconds in each pass."""

    cases: DataFrame
    pass_times: DataFrame
    """Index (setting, label, backend), one column a pass; only what is ok in all its passes, halves
    among them."""
    baseline: str
    margin: float
    missing_cases: int = 0
    """Cases that were asked for and are not here."""
    ceilings: DataFrame = pd.DataFrame()
    """What the machine does at best: the same columns."""
    separable_parts: DataFrame = pd.DataFrame()
    """Halves of separable layers, each timed alone; their `label` is that of the problem."""
    other_shards_cases: int = 0
    """Of those that are not here, how many are for other shards to measure."""

    @property
    def backends(self) -> list[str]:
        """The backends of the run, the baseline first."""
        return sorted(set(self.cases["backend"]), key=lambda name: (name != self.baseline, name))

    @property
    def settings(self) -> list[str]:
        """Device, dtype and so on, in whose bounds times are compared."""
        return list(dict.fromkeys(self.cases["setting"]))

    def within(self, setting: str) -> Run:
        """The part of the run that was measured in one setting."""
        cases = self.cases[self.cases["setting"] == setting]
        here = self.pass_times.index.get_level_values("setting") == setting
        machine, names = list(MACHINE_COLUMNS), cases.drop_duplicates(list(MACHINE_COLUMNS))
        ceilings, separable_parts = self.ceilings, self.separable_parts
        if len(ceilings):
            ceilings = ceilings.merge(names[machine], on=machine)
        if len(separable_parts):
            separable_parts = separable_parts[separable_parts["setting"] == setting]
        return self._replace(
            cases=cases,
            pass_times=self.pass_times[here],
            ceilings=ceilings,
            separable_parts=separable_parts,
        )


def read_run(
    measurements: DataFrame, summary: DataFrame, planned: int = 0, other_shards_cases: int = 0
) -> Run:
    """Label the cases of a run, whose `summary` comes from `statistics.summarize`.

    Where it is known how many cases were `planned`, and are `other_shards_cases`, in other shards, those
    that are missing are told.
    """
    told, rows = split(summary), split(measurements)
    cases, ceilings, separable_parts = (label_cases(part, told.requested) for part in told)
    separable_parts["label"] = separable_parts["problem"]
    requested, _, parts = (label_cases(part, rows.requested) for part in rows)
    parts["label"] = parts["problem"]
    timed = pd.concat([requested, parts])
    timed["median_s"] = timed["median_s"].where(timed["status"] == "ok")
    by_case = ["setting", "label", "backend"]
    times = timed.pivot_table(
        index=by_case, columns="pass_index", values="median_s", aggfunc="mean", dropna=False,
        observed=True,
    )  # fmt: skip
    every = pd.concat([cases, separable_parts])
    keys = pd.MultiIndex.from_frame(every.loc[every["status"] == "ok", by_case])
    baseline = str(cases["baseline"].iloc[0]) if len(cases) else ""
    margin = float(cases["margin"].iloc[0]) if len(cases) else MARGIN
    left = max(0, planned - len(cases)) + other_shards_cases
    return Run(
        cases,
        times.reindex(keys),
        baseline,
        margin,
        left,
        ceilings,
        separable_parts,
        other_shards_cases,
    )


def fastest(run: Run) -> DataFrame:
    """One row for each problem that two backends timed: `setting, label, backend, significant`.

    It is significant if it is faster than each of the others, corrected for so many problems.
    """
    rows, doubts = [], []
    for (setting, label), times in run.pass_times.groupby(["setting", "label"], sort=False):
        if len(times) < 2:
            continue
        logs = np.log(times.to_numpy(dtype="float64"))  # (backends, passes)
        winner = int(np.nanargmin(estimate(logs).mean))
        others = estimate(np.delete(logs - logs[winner], winner, axis=0))
        doubts.append(p_values(others, run.margin)[DIRECTIONS.index("faster")].max())
        backend = times.index.get_level_values("backend")[winner]
        rows.append({"setting": setting, "label": label, "backend": backend})
    found = pd.DataFrame(rows, columns=["setting", "label", "backend"])
    return found.assign(significant=reject_at_fdr(np.array(doubts, dtype="float64")))


class MeanSpeedup(NamedTuple):
    """A geometric mean over the problems that both backends timed."""

    interval: Interval
    problems: int


def mean_speedup(run: Run, backend: str) -> MeanSpeedup:
    """Geometric mean of the speedups over the baseline, in one setting; every problem weighs alike.

    Each problem's speedup is the mean over the passes that it has, few or many.
    """
    times = run.pass_times.droplevel("setting")
    if run.cases.empty or not {backend, run.baseline} <= set(times.index.unique("backend")):
        return MeanSpeedup(Interval(np.nan, np.nan, np.nan), 0)
    backends = times.index.get_level_values("backend")
    own, base = (times[backends == b].droplevel("backend") for b in (backend, run.baseline))
    speedups = (base / own).dropna(how="all")  # a row a problem, a column a pass
    problems = len(speedups)
    if not problems:
        return MeanSpeedup(Interval(np.nan, np.nan, np.nan), 0)
    logs = np.log(speedups.to_numpy(dtype="float64"))
    return MeanSpeedup(interval(weighted_mean(logs, np.full(problems, 1 / problems))), problems)


def mac_ratio(run: Run) -> Series:
    """What the arithmetic alone promises: MACs of the definition / MACs of the backend."""
    return run.cases["macs"] / run.cases["backend_macs"]


def backends_with_fewer_macs(run: Run) -> list[str]:
    """The backends, baseline apart, that multiply less than the definition in some problem.

    Where there are more than a reader takes in, those that belong to no family: the others have a
    part of the report of their own.
    """
    saves = run.cases["backend_macs"] < run.cases["macs"]
    thrifty = run.cases[saves & run.cases["speedup"].notna()]
    names = set(thrifty["backend"])
    if len(names) > MAX_BACKENDS_WITH_FEWER_MACS:
        names = set(thrifty.loc[thrifty["backend_family"] == "basic", "backend"])
    return [name for name in run.backends if name in names - {run.baseline}]


def undecided(cases: DataFrame) -> Series:
    """Which cases have a speedup that nobody can call faster, slower or same."""
    return cases["verdict"] == "undecided"


def unsteady(cases: DataFrame) -> Series[str]:
    """The flags of the cases, a row a case and flag; without the cases that have none."""
    words = cases["sample_flags"].str.split("|").explode()
    return words[words.notna() & (words != "")]


class Total(NamedTuple):
    """One backend's time for a network: each layer as often as it occurs."""

    time: Interval
    layers: int


def network_totals(run: Run, workload: str) -> dict[str, Total]:
    """Each backend's total over the layers that it timed, in one setting."""
    cases = run.cases[(run.cases["workload"] == workload).fillna(False)]
    totals = {}
    for backend in run.backends:
        layers = cases[(cases["backend"] == backend) & (cases["status"] == "ok")]
        if layers.empty:
            continue
        keys = pd.MultiIndex.from_frame(layers[["setting", "label", "backend"]])
        logs = np.log(run.pass_times.loc[keys].to_numpy(dtype="float64"))
        counts = layers["layer_count"].to_numpy(dtype="float64")
        totals[backend] = Total(interval(total(logs, counts)), len(layers))
    return totals


def top_backends(run: Run, most: int) -> Run:
    """The run with at most so many backends: the baseline, and those that are fastest most often.

    Among equals the one that is the least behind; one without any time is the first to go.
    """
    timed = run.cases[run.cases["status"] == "ok"]
    kept = {run.baseline, *_ranked(timed, run.baseline)[: most - 1]}
    if len(run.backends) <= most or not len(timed):
        return run
    of_pass_times = run.pass_times.index.get_level_values("backend").isin(
        kept | _part_backends(run)
    )
    return run._replace(
        cases=run.cases[run.cases["backend"].isin(kept)], pass_times=run.pass_times[of_pass_times]
    )


def _ranked(timed: DataFrame, baseline: str) -> list[str]:
    """The other backends, the most worth seeing first.

    Those that compute from a weight's factors, and so less, contend among themselves.
    """
    others = timed[timed["backend"] != baseline]
    factors = others["backend"].str.startswith(FACTORED)
    least = others.groupby(["setting", "label", factors])["median_s"].transform("min")
    behind = np.log((others["median_s"] / least).to_numpy(dtype="float64"))
    told = others.assign(won=behind <= 0, behind=behind).groupby("backend")[["won", "behind"]]
    wins, means = told.sum()["won"], told.mean()["behind"]
    names = {str(name) for name in others["backend"]}
    return sorted(names, key=lambda name: (-wins[name], means[name], name))


def _part_backends(run: Run) -> set[str]:
    return set(run.separable_parts["backend"]) if len(run.separable_parts) else set()
