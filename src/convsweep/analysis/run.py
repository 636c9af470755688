"""Analysed run: fastest backends, mean speedups, totals of networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from convsweep.analysis.cases import RowsByRole, read_cases, split
from convsweep.analysis.drift import Drift
from convsweep.analysis.estimates import UNKNOWN, Array, Interval, equal_mean, interval, total
from convsweep.analysis.labels import SETTING_COLUMNS, label_cases
from convsweep.analysis.sample_flags import OF_TRACE, QUANTIZED
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import FACTORED, SEPARABLE
from convsweep.results.schema import MACHINE_COLUMNS, MARGIN

MAX_BACKENDS_WITH_FEWER_MACS = 3
"""Number of backends with fewer MACs that get a sentence and a figure each."""
_CASE = ["setting", "label", "backend"]


class Run(NamedTuple):
    """Analysed run: one row per case, and the seconds of each case in each pass."""

    cases: DataFrame
    pass_times: DataFrame
    """Index (setting, label, backend), one column per pass: the cases and separable parts that
    are ok in all their passes."""
    baseline: str
    margin: float
    missing_cases: int = 0  # number of requested cases without a row
    ceilings: DataFrame = pd.DataFrame()  # roofline probes, with the same columns
    separable_parts: DataFrame = pd.DataFrame()
    """Parts of separable layers, each timed alone; their `label` is that of the problem."""
    quantized: DataFrame = pd.DataFrame()
    """Timed cases of int8 backends, with the same columns. `cases` lacks them: they compute another
    function, so that none is the fastest."""
    other_shards_cases: int = 0  # number of missing cases that belong to other shards
    drift: Drift | None = None  # between runs, if known

    @property
    def backends(self) -> list[str]:
        """The backends of the run, the baseline first."""
        return sorted(set(self.cases["backend"]), key=lambda name: (name != self.baseline, name))

    @property
    def settings(self) -> list[str]:
        """Device, dtype and so on; times are only compared within a setting."""
        return list(dict.fromkeys(self.cases["setting"]))

    def log_s(self, cases: DataFrame) -> Array:
        """Return the logarithms of the seconds of some cases, (cases, passes)."""
        keys = pd.MultiIndex.from_frame(cases[_CASE])
        return np.asarray(np.log(self.pass_times.loc[keys].to_numpy(dtype="float64")))

    @property
    def fully_connected(self) -> list[str]:
        """Labels of fully connected layers, given as convolutions."""
        problems = self.cases.drop_duplicates("label").set_index("label")["problem"]
        return [str(label) for label, problem in problems.items()
                if ConvProblem.parse(problem).is_fully_connected]  # fmt: skip

    @property
    def transposed(self) -> list[str]:
        """Labels of transposed convolutions."""
        is_transposed = self.cases["output_padding"].notna()
        return [*self.cases.loc[is_transposed, "label"].unique()]

    @property
    def for_means(self) -> Run:
        """The run that means and figures are of; the whole run if no other layer is left."""
        labels = self.pass_times.index.get_level_values("label")
        left_out = [*self.fully_connected, *self.transposed]
        others = ~self.cases["label"].isin(left_out)
        if others.all() or not others.any():
            return self
        return self._replace(
            cases=self.cases[others], pass_times=self.pass_times[~labels.isin(left_out)]
        )

    def within(self, setting: str) -> Run:
        """Return the part of the run in one setting."""
        cases = self.cases[self.cases["setting"] == setting]
        in_setting = self.pass_times.index.get_level_values("setting") == setting
        ceilings, parts = self.ceilings, self.separable_parts
        if len(ceilings):
            machine = list(MACHINE_COLUMNS)
            ceilings = ceilings.merge(cases[machine].drop_duplicates(), on=machine)
        return self._replace(
            cases=cases,
            pass_times=self.pass_times[in_setting],
            ceilings=ceilings,
            separable_parts=parts[parts["setting"] == setting] if len(parts) else parts,
        )


def read_run(
    measurements: DataFrame, summary: DataFrame, planned: int = 0, other_shards_cases: int = 0
) -> Run:
    """Label the cases of a run.

    Args:
        measurements: the rows of the run.
        summary: as `summarize` returns it for these rows.
        planned: number of requested cases; 0 if unknown.
        other_shards_cases: number of cases that belong to other shards.
    """
    by_role = _of_requested(split(summary.assign(place=range(len(summary)))))
    cases, ceilings, parts = (label_cases(frame, by_role.requested) for frame in by_role)
    parts["label"] = parts["problem"]
    flags = "|" + cases["sample_flags"].fillna("") + "|"
    is_int8 = flags.str.contains(f"|{QUANTIZED}|", regex=False) & (cases["status"] == "ok")
    quantized, cases = cases[is_int8], cases[~is_int8].reset_index(drop=True)
    ok = pd.concat([each[each["status"] == "ok"] for each in (cases, quantized, parts)])
    log_s = read_cases(measurements, "").log_s[ok["place"].astype(int)]
    return Run(
        cases=cases,
        pass_times=pd.DataFrame(
            np.exp(log_s), pd.MultiIndex.from_frame(ok[_CASE]), measurements["pass_index"].unique()
        ),
        baseline=str(cases["baseline"].iloc[0]) if len(cases) else "",
        margin=float(cases["margin"].iloc[0]) if len(cases) else MARGIN,
        missing_cases=max(0, planned - len(cases) - len(quantized)) + other_shards_cases,
        ceilings=ceilings,
        separable_parts=parts,
        quantized=quantized,
        other_shards_cases=other_shards_cases,
    )


def _of_requested(rows: RowsByRole) -> RowsByRole:
    """Leave out probes and separable parts of machines and settings without a requested case."""

    def kept(frame: DataFrame, columns: tuple[str, ...]) -> DataFrame:
        keys = pd.MultiIndex.from_frame(rows.requested[[*columns]])
        return frame[pd.MultiIndex.from_frame(frame[[*columns]]).isin(keys)]

    ceilings, parts = rows.ceilings, rows.separable_parts
    return RowsByRole(rows.requested, kept(ceilings, MACHINE_COLUMNS), kept(parts, SETTING_COLUMNS))


class MeanSpeedup(NamedTuple):
    """Geometric mean over the problems that both backends timed."""

    interval: Interval
    problems: int


def mean_speedup(run: Run, backend: str) -> MeanSpeedup:
    """Return the geometric mean of the speedups over the baseline, in one setting."""
    times = run.pass_times.droplevel("setting")
    backends = times.index.get_level_values("backend")
    own, base = (times[backends == b].droplevel("backend") for b in (backend, run.baseline))
    speedups = (base / own).dropna(how="all")
    if speedups.empty:
        return MeanSpeedup(UNKNOWN, 0)
    logs = np.log(speedups.to_numpy(dtype="float64"))
    return MeanSpeedup(interval(equal_mean(logs, run.drift and run.drift.error)), len(speedups))


def mac_ratio(run: Run) -> Series:
    """Return MACs of the definition / MACs of the backend, per case."""
    return run.cases["macs"] / run.cases["backend_macs"]


def backends_with_fewer_macs(run: Run) -> list[str]:
    """Return the backends with fewer MACs than the definition in some problem.

    Not the baseline and not `separable`. If there are many, only those of the family `basic`: the
    others have a section of their own.
    """
    saves = run.cases["backend_macs"] < run.cases["macs"]
    saving = run.cases[saves & run.cases["speedup"].notna()]
    names = set(saving["backend"])
    if len(names) > MAX_BACKENDS_WITH_FEWER_MACS:
        names = set(saving.loc[saving["backend_family"] == "basic", "backend"])
    return [name for name in run.backends if name in names - {run.baseline, SEPARABLE}]


def unsteady(cases: DataFrame) -> Series[str]:
    """Return one row per case and flag of its samples."""
    words = cases["sample_flags"].str.split("|").explode()
    return words[words.notna() & (words != "") & ~words.str.startswith(OF_TRACE).fillna(False)]


class Total(NamedTuple):
    """Time of one backend for a network: each layer times its count."""

    time: Interval
    layers: int


def network_totals(run: Run, network: str) -> dict[str, Total]:
    """Return the total of each backend over the layers that it timed, in one setting."""
    cases = run.cases[(run.cases["network"] == network).fillna(False)]
    totals = {}
    for backend in run.backends:
        layers = cases[(cases["backend"] == backend) & (cases["status"] == "ok")]
        if layers.empty:
            continue
        counts = layers["layer_count"].to_numpy(dtype="float64")
        totals[backend] = Total(interval(total(run.log_s(layers), counts)), len(layers))
    return totals


def top_backends(run: Run, most: int) -> Run:
    """Return the run with at most `most` backends: the baseline and those fastest most often.

    Ties are broken by the mean distance to the fastest. Backends without a time go first.
    """
    timed = run.cases[run.cases["status"] == "ok"]
    if len(run.backends) <= most or not len(timed):
        return run
    kept = {*ranked_backends(run)[:most]}
    parts = set(run.separable_parts["backend"]) if len(run.separable_parts) else set()
    in_kept = run.pass_times.index.get_level_values("backend").isin(kept | parts)
    return run._replace(
        cases=run.cases[run.cases["backend"].isin(kept)], pass_times=run.pass_times[in_kept]
    )


def ranked_backends(run: Run) -> list[str]:
    """Return the baseline, then the backends with a time, fastest most often first.

    Those that use weight factors are compared among themselves.
    """
    timed = run.cases[run.cases["status"] == "ok"]
    others = timed[timed["backend"] != run.baseline]
    factored = others["backend"].str.startswith(FACTORED)
    least = others.groupby(["setting", "label", factored])["time_s"].transform("min")
    behind = np.log((others["time_s"] / least).to_numpy(dtype="float64"))
    by_backend = others.assign(won=behind <= 0, behind=behind).groupby("backend")
    wins, means = by_backend["won"].sum(), by_backend["behind"].mean()
    ranked = sorted({*others["backend"]}, key=lambda name: (-wins[name], means[name], name))
    return [run.baseline, *ranked]


def status_counts(rows: DataFrame) -> str:
    """Return how many rows have each status, and one of the reasons."""
    counts = [f"{n} {status}" for status, n in rows["status"].value_counts().items()]
    reasons = [repr(reason) for reason in rows["reason"].dropna() if reason][:1]
    return ", such as ".join([", ".join(counts) or "none", *reasons])
