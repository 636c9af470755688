"""Comparison of runs: which cases are faster or slower in a newer one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from convsweep.analysis import estimates
from convsweep.analysis.case_margins import CaseMargin, margins
from convsweep.analysis.cases import Cases, read_cases, split
from convsweep.analysis.labels import label_cases
from convsweep.analysis.summary import stored_verdicts
from convsweep.analysis.verdicts import detectable
from convsweep.results import store
from convsweep.results.metadata import Use, select
from convsweep.results.schema import BASELINE, CASE_COLUMNS
from convsweep.results.store import RunFolder

_OF_ONE_MACHINE = ("environment_id", "backend_version", "device_name")
SHARED_COLUMNS = tuple(name for name in CASE_COLUMNS if name not in _OF_ONE_MACHINE)
"""Columns that identify the same case in two runs."""
VERDICTS = ("slower", "faster", "undecided", "same")
_FAILED = ("mismatch", "crash", "error", "out_of_memory", "timeout")


class RunComparison(NamedTuple):
    """Changes of every case from the old run to the new one."""

    cases: DataFrame
    """One row per case of either run: `SHARED_COLUMNS, label, setting, margin, status_old,
    status_new, reason, implementation_old, implementation_new, old_s, old_speedup, new_s,
    new_speedup, change, change_ci_low, change_ci_high, verdict, detectable, regression`. A change
    above 1 is faster now; cases without a comparison have no verdict; `detectable` is the slowdown
    that is found nine times in ten."""
    means: DataFrame
    """One row per setting and backend: `setting, backend, cases`, and the geometric mean of the
    changes as `change, change_ci_low, change_ci_high`; for the baseline of absolute times."""
    baseline: str | None
    """Backend that times are relative to, pass by pass; None for absolute times."""
    margin: float
    differences: list[str]  # differences of machine, versions and settings
    gaps: list[str]  # sentences on what the runs themselves lack

    @property
    def missing(self) -> Series[bool]:
        """Mask of the cases that were ok and are now not in the run, or skipped."""
        now = self.cases["status_new"]
        return self.cases["status_old"].eq("ok") & (now.isna() | now.eq("skipped"))

    @property
    def judged(self) -> Series[bool]:
        """Mask of the cases that have a verdict."""
        return self.cases["verdict"].isin(VERDICTS)

    @property
    def compared(self) -> Series[bool]:
        """Mask of the cases that have an interval, which takes two passes in both runs."""
        return self.judged & self.cases["change_ci_low"].notna()

    @property
    def reimplemented(self) -> DataFrame:
        """Cases whose implementation is known in both runs, and another one in the new run."""
        old, new = self.cases["implementation_old"], self.cases["implementation_new"]
        return self.cases[(old != "") & (new != "") & (old != new)]

    @property
    def lacks(self) -> list[str]:
        """Reasons why the comparison is incomplete, such as `missing cases`."""
        once = self.judged & ~self.compared
        applies = {"missing cases": self.missing.any(), "an unfinished run": self.gaps,
                   "cases with one pass": once.any()}  # fmt: skip
        return [name for name, is_lacking in applies.items() if is_lacking]

    def exit_code(self, *, allow_missing: bool) -> int:
        """Return 1 if a case is slower or failed, 3 if a comparison is missing, else 0."""
        if self.cases["regression"].any():
            return 1
        return 0 if self.compared.any() and (allow_missing or not self.lacks) else 3


class RunTrend(NamedTuple):
    """Comparisons of two or more runs, in their order; cases share the index of their rows."""

    names: list[str]
    to_first: list[RunComparison]  # of each run after the first
    to_previous: list[RunComparison]


def compare_runs(
    run_dirs: Sequence[Path],
    *,
    margin: float | None = None,
    case_margins: Sequence[CaseMargin] = (),
    absolute: bool = False,
    across_machines: bool = False,
) -> RunTrend:
    """Compare each run with the first one, and with the one before it.

    Absolute times vary more between runs than intervals within a run show; times relative to the
    baseline vary much less. Relative times are compared, unless `absolute` is set or the runs have
    no common baseline.

    Raises:
        ValueError: a folder is no run, a margin has no case, or machine, versions or settings
            differ and `across_machines` is not set.
    """
    runs = [RunFolder(path) for path in run_dirs]
    rows = [split(run.measurements).requested for run in runs]
    for run, own in zip(runs, rows, strict=True):
        if (found := own["environment_id"].nunique()) > 1:
            raise ValueError(f"{run} has rows of {found} environments; only 1 is allowed")
    if not across_machines:
        for run in runs[1:]:
            if differences := [*_differences(runs[0], run)]:
                raise ValueError(
                    f"{runs[0]} and {run} differ in {'; '.join(differences)}; "
                    "to compare them anyway, use --across-machines"
                )
    baseline = None if absolute else _common_baseline(runs, rows)
    cases, sides = _align([read_cases(own, baseline or "") for own in rows])
    usual = runs[-1].request.margin if margin is None else margin
    cases["margin"] = margins(cases, usual, case_margins)

    def pair(old: int, new: int) -> RunComparison:
        differences = [*_differences(runs[old], runs[new])]
        gaps = [*_gaps("old", runs[old], sides[old]), *_gaps("new", runs[new], sides[new])]
        return RunComparison(
            *_judge(cases, sides[old], sides[new], baseline), baseline, usual, differences, gaps
        )

    later = range(1, len(runs))
    to_first = [pair(0, new) for new in later]
    to_previous = [to_first[0], *(pair(new - 1, new) for new in later[1:])]
    names = [run.name for run in runs]
    if len({*names}) < len(names):
        names = [str(run.path) for run in runs]
    return RunTrend(names, to_first, to_previous)


def _gaps(age: str, run: RunFolder, side: _Side) -> Iterator[str]:
    """Yield sentences on how a run is incomplete."""
    cases = side.status.notna().sum()
    if run.unfinished:
        yield f"The {age} run is unfinished: {run.unfinished}."
    if cases < run.request.cases:
        yield f"The {age} run has {cases} of its {run.request.cases} requested cases."


def _differences(old: RunFolder, new: RunFolder) -> Iterator[str]:
    """Yield differences such as `settings.allocator: 'retain' against 'system'`."""
    if bool(old.environment) != bool(new.environment):
        yield f"{store.ENVIRONMENT}: only the {'old' if old.environment else 'new'} run has one"
        return
    if old.environment:
        before, now = (select(run.environment, Use.COMPARE) for run in (old, new))
    else:  # the id covers machine and versions
        ids = [run.measurements["environment_id"].unique() for run in (old, new)]
        before, now = ({"environment_id": own[0]} if len(own) else {} for own in ids)
    for name in sorted(before.keys() | now.keys()):
        values = [before.get(name), now.get(name)]
        if values[0] != values[1]:
            texts = ["not recorded" if value is None else repr(value) for value in values]
            yield f"{name}: {texts[0]} against {texts[1]}"
    times = [  # older runs have medians alone
        next((name for name in ("time_s", "median_s") if rows[name].notna().any()), None)
        for rows in (old.measurements, new.measurements)
    ]
    if None not in times and times[0] != times[1]:
        yield f"time of a pass: {times[0]} against {times[1]}"


def _common_baseline(runs: Sequence[RunFolder], rows: Sequence[DataFrame]) -> str | None:
    """Return a baseline that all runs have timed; None if there is no other common backend."""
    common = set.intersection(*({*own.loc[own["status"] == "ok", "backend"]} for own in rows))
    names = [str(run.environment.get("baseline") or BASELINE) for run in runs]
    return next((name for name in names if name in common and len(common) > 1), None)


class _Side(NamedTuple):
    """One run, with a row per case of any run; NaN if it has no such case."""

    status: Series[str]
    reason: Series[str]
    implementation: Series[str]
    speed: estimates.Array  # logarithms (cases, passes)
    speedup: estimates.Array


_TEXTS = ("status", "reason", "implementation")


def _align(runs: Sequence[Cases]) -> tuple[DataFrame, list[_Side]]:
    """Return the cases of all runs, and each run in that order."""
    shared = list(SHARED_COLUMNS)
    tables = [run.info[shared].assign(**{f"row_{i}": np.arange(len(run.info))})
              for i, run in enumerate(runs)]  # fmt: skip
    joined = reduce(lambda one, other: one.merge(other, how="outer", on=shared), tables)
    cases = label_cases(joined.assign(environment_id="")).drop(columns="environment_id")
    sides = []
    for i, run in enumerate(runs):
        place = cases.pop(f"row_{i}")
        text = run.info[[*_TEXTS]].reindex(place).set_axis(cases.index).astype("str")
        text[[*_TEXTS[1:]]] = text[[*_TEXTS[1:]]].fillna("")
        logs = [pd.DataFrame(values).reindex(place).to_numpy(dtype="float64")
                for values in (-run.log_s, run.log_speedup)]  # fmt: skip
        sides.append(_Side(text["status"], text["reason"], text["implementation"], *logs))
    return cases, sides


def _judge(
    cases: DataFrame, old: _Side, new: _Side, baseline: str | None
) -> tuple[DataFrame, DataFrame]:
    """Return the cases with times, changes and verdicts, and the mean changes."""
    cases = cases.assign(status_old=old.status, status_new=new.status, reason=new.reason)
    for age, side in (("old", old), ("new", new)):
        cases[f"implementation_{age}"] = side.implementation
        cases[f"{age}_s"] = np.exp(-estimates.estimate(side.speed).mean)
        cases[f"{age}_speedup"] = np.exp(estimates.estimate(side.speedup).mean)
    is_baseline = (cases["backend"] == (baseline or "")).to_numpy(dtype=bool)[:, np.newaxis]
    before, now = (side.speedup if baseline else side.speed for side in (old, new))
    found = estimates.difference(estimates.estimate(now), estimates.estimate(before))
    found = estimates.Estimate(*(np.where(is_baseline[:, 0], np.nan, part) for part in found))
    for name, ends in zip(_CHANGE, estimates.bounds(found), strict=True):
        cases[name] = ends
    timed = cases["old_s"].notna() & cases["new_s"].notna()
    margin = cases["margin"].to_numpy(dtype=float)
    found_verdicts = pd.Series(stored_verdicts(found, margin), cases.index).fillna("")
    cases["verdict"] = found_verdicts.mask(timed & is_baseline[:, 0], "baseline")
    cases["detectable"] = detectable(found, margin, int(cases["change_ci_low"].notna().sum()))
    failed = (cases["status_old"] == "ok") & cases["status_new"].isin(_FAILED)
    cases["regression"] = ((cases["verdict"] == "slower") | failed).astype(bool)
    # The change of the baseline itself is of absolute times.
    before, now = np.where(is_baseline, old.speed, before), np.where(is_baseline, new.speed, now)
    in_either = cases["status_old"].notna() | cases["status_new"].notna()
    return cases[in_either], _means(cases, before, now)


_CHANGE = ("change", "change_ci_low", "change_ci_high")


def _means(cases: DataFrame, before: estimates.Array, now: estimates.Array) -> DataFrame:
    """Return the mean changes over the cases that both runs have timed."""
    both = ~(np.isnan(before).all(axis=1) | np.isnan(now).all(axis=1))
    means = []
    for (setting, backend), own in cases[both].groupby(["setting", "backend"], sort=False):
        found = estimates.difference(
            *(estimates.equal_mean(logs[own.index]) for logs in (now, before))
        )
        row = {"setting": setting, "backend": backend, "cases": len(own)}
        means.append(row | dict(zip(_CHANGE, estimates.interval(found), strict=True)))
    return pd.DataFrame(means, columns=["setting", "backend", "cases", *_CHANGE])
